/**
 * Long polls, for where no stream gets through. Ends when a better transport is to be tried.
 *
 * @type {import('./connection.js').Transport}
 */
export async function poll(link, topics, signal) {
  let wait = 0; // s
  link.join(link.begin().last_event_id);
  while (!link.isOver()) {
    const query = { ...link.begin(), wait: `${wait}s` };
    const page = await link.requests.page(topics, query, signal, () => link.expect(1000 * wait + 10_000));
    link.hear();
    if (page.gap) link.tell('gap', page.gap);
    for (const event of page.events) link.tell('event', event);
    link.tell('position', 0, page.position);
    // Behind a page of 500, the server's default, there may be more.
    if (page.events[499]) continue;
    if (!wait) link.take('outcrier.live', {}, page.position);
    wait = 25;
  }
}
