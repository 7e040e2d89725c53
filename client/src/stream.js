import { parser } from './parser.js';

/**
 * Server-Sent Events, read by fetch: unlike an EventSource it sends a token, and learns
 * why it is refused.
 *
 * @type {import('./connection.js').Transport}
 */
export async function stream(link, topics, signal) {
  const { body } = await link.requests.ask(topics, link.subscriber.begin(), 'text/event-stream', signal);
  const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader();
  const decoder = new TextDecoder();
  const feed = parser(({ type, data, id }) => link.take(type, JSON.parse(data), id), link.setRetry);
  for (;;) {
    const { value } = await reader.read().catch(() => /** @type {{value?: undefined}} */ ({}));
    if (!value) return 'ended'; // or broken
    link.hear();
    feed(decoder.decode(value, { stream: true }));
  }
}
