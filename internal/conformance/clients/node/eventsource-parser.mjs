import { EventSourceParserStream } from 'eventsource-parser/stream';
import { refetch } from './refetch.mjs';

await refetch(async function* (response) {
  let retry;
  const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream({ onRetry: (ms) => (retry = ms) }));
  for await (const { id, event, data } of events) yield { id, type: event ?? 'message', data, retry };
});
