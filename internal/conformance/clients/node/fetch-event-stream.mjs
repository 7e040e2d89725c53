import { events } from 'fetch-event-stream';
import { refetch } from './refetch.mjs';

await refetch(async function* (response) {
  for await (const { id, event, data, retry } of events(response)) yield { id: id && String(id), type: event ?? 'message', data, retry };
});
