import { createSseStream } from '@azure/core-sse';
import { refetch } from './refetch.mjs';

await refetch(async function* (response) {
  for await (const { id, event, data, retry } of createSseStream(response.body)) yield { id, type: event || 'message', data, retry };
});
