// Outcrier's module: a stream of committed events that loses none and gives none twice,
// whatever networks, proxies, servers and tabs do. Its options and events are described in
// outcrier.d.ts, its behaviour in docs/client.md.
//
// An event travels: asked for (requests), read by one of three transports (stream,
// websocket, poll) of the connection, told to all tabs (tabs), given to the page (reader).
import { listed } from './listed.js';
import { listeners } from './listeners.js';
import { reader } from './reader.js';

export { parser } from './parser.js';

/** @typedef {import('../outcrier.d.ts').StateChange} StateChange */
/** @typedef {Omit<StateChange, 'via'> & Partial<StateChange>} Change */

/** @type {typeof import('../outcrier.d.ts').connect} */
export function connect(address, options = {}) {
  const page = new AbortController(); // ends what listens to the page
  const { emit, methods } = listeners();

  /** @type {StateChange} */
  let now = { state: 'connecting', via: 'stream' };

  /** @param {Change} change */
  function turn(change) {
    const before = now;
    const next = { via: before.via, ...change };
    if (before.state === 'closed' || (next.state === before.state && next.via === before.via)) return;
    now = next;
    emit('outcrier.state', next);
    if (next.state === 'live' && before.state !== 'live') emit('outcrier.live', next);
  }

  /** @param {Partial<StateChange>} why */
  function close(why) {
    page.abort();
    turn({ ...why, state: 'closed' });
    us?.end();
  }

  /** @type {ReturnType<typeof reader> | undefined} */
  let us;
  try {
    us = reader(new URL(address, globalThis.location?.href), options, emit, turn, close);
    const { open, end, online, wake } = us;
    /** @param {string} type @param {(event: any) => void} listener */
    const listen = (type, listener) => globalThis.addEventListener?.(type, listener, page);
    listen('online', online);
    listen('offline', online);
    listen('visibilitychange', wake);
    // In the back/forward cache a page may hold no lock and no connection.
    listen('pagehide', end);
    listen('pageshow', ({ persisted }) => persisted && open());
    queueMicrotask(() => now.state === 'closed' || open());
  } catch (error) {
    // Without a page there is nothing that an address can be relative to.
    queueMicrotask(() => close({ reason: 'refused', detail: /** @type {Error} */ (error).message }));
  }

  return {
    get state() { return now.state; },
    get via() { return now.via; },
    get position() { return us?.position; },
    .../** @type {any} */ (methods),
    add: (topics, { from } = {}) => us?.add(listed(topics), from),
    drop: (topics) => { us?.drop(listed(topics)); },
    close: () => close({ reason: 'closed' }),
  };
}
