/**
 * Long polls, for where no stream gets through. Ends when a better transport is to be tried.
 *
 * @param {import('./connection.js').Link} link @param {string[]} topics @param {AbortSignal} signal
 * @param {() => boolean} isOver
 */
export async function poll(link, topics, signal, isOver) {
  let wait = 0; // s
  link.arrive(link.subscriber.begin().last_event_id);
  while (!isOver()) {
    const query = { ...link.subscriber.begin(), wait: `${wait}s` };
    await link.requests.bearer(); // the time that it takes is not the server's
    link.expect(1000 * wait + 10_000);
    /** @type {import('./requests.js').Page} */
    const page = await (await link.requests.ask(topics, query, 'application/json', signal)).json();
    link.hear();
    if (page.gap) link.subscriber.tell('gap', page.gap);
    for (const event of page.events) link.subscriber.tell('event', event);
    link.subscriber.tell('position', 0, page.position);
    // Behind a page of 500, the server's default, there may be more.
    if (page.events[499]) continue;
    if (!wait) link.take('outcrier.live', {}, page.position);
    wait = 25;
  }
}
