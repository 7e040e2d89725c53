import { parseServerSentEvents } from 'parse-sse';
import { refetch } from './refetch.mjs';

await refetch(async function* (response) {
  for await (const { lastEventId, type, data, retry } of parseServerSentEvents(response)) yield { id: lastEventId, type, data, retry };
});
