import { connection } from './connection.js';
import { listed } from './listed.js';
import { parts } from './parts.js';
import { pauses } from './pauses.js';
import { requests } from './requests.js';

/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('../outcrier.d.ts').OutcrierEvent} Event */
/** @typedef {import('../outcrier.d.ts').StateChange} StateChange */

/**
 * What a reader has later.
 *
 * @typedef {object} Later
 * @property {ReturnType<typeof connection>} line once it is open
 * @property {string} [position]
 * @property {ReturnType<typeof import('./memory.js').memory>} [kept] what keeps the position
 * @property {() => void} [renew] by changes.js, before another connection
 * @property {() => void} [check] by changes.js, for the connection
 */

/**
 * What a page follows, where it stands, and what it is given: each event once. It is for
 * topics that stay the same; with the first change of them, as when one is refused, and for tabs
 * that share a connection, changes.js takes over much of it.
 *
 * @param {URL} url
 * @param {import('../outcrier.d.ts').Options} options
 * @param {(type: string, event: unknown) => void} emit
 * @param {(next: import('./outcrier.js').Change) => void} turn
 * @param {(why: Partial<StateChange>) => void} close
 */
export function reader(url, options, emit, turn, close) {
  const { from } = options;
  const shares = options.share && globalThis.navigator?.locks;
  const pause = pauses(options.retry);
  /** @type {Set<string>} */
  const seen = new Set(); // ids of the newest events given
  let session = new AbortController(); // from open to end
  /** @type {ReturnType<typeof setInterval>} */
  let ticks;
  /** @type {import('./changes.js').Change[]} */
  const waiting = []; // changes of topics, for changes.js
  /** @type {[kind: string, detail?: any, at?: string][] | undefined} */
  let queue; // what comes until it is there

  async function extend() {
    queue ??= [];
    const [{ changes }, sharing] = await Promise.all([parts.changes(), shares && parts.tabs(), recall()]);
    if (!queue || self.isOver) return;
    changes(self, url, options, sharing, waiting, queue);
    queue = undefined;
  }

  async function recall() {
    if (options.remember) {
      const { memory } = await parts.memory();
      self.kept ??= memory(url, options);
    }
    self.position ??= self.kept?.load(self.topics);
  }

  /** @param {import('./changes.js').Change} change */
  function make(change) {
    waiting.push(change);
    queue ??= []; // also for what has been read already
    // A stream ends for it in any case, and may have the browser's last connection.
    if (self.line?.link.alter) extend().catch(self.line.stop);
    else self.line?.stop();
  }

  function restart() {
    session.abort();
    session = new AbortController();
    self.renew?.();
    self.line = connection(options, self.requests, pause, self);
    self.run(session.signal);
  }

  const self = {
    .../** @type {Later} */ ({}),
    topics: listed(options.topics),
    start: from === 'now' ? undefined : from,
    get isOver() { return session.signal.aborted; },
    emit,
    pause,
    requests: requests(url, options),
    turn,
    restart,

    // --- What the page does

    open() {
      ticks = setInterval(() => self.tick(), 1000);
      restart();
    },

    end() {
      clearInterval(ticks);
      session.abort();
      self.kept?.save();
    },

    wake: pause.wake,
    /** @param {globalThis.Event} event */
    online: (event) => self.line?.online(event),
    /** @param {string[]} topics @param {string} [from] */
    add(topics, from) { if (topics[0]) make((it) => it.add(topics, from)); },
    /** @param {string[]} topics */
    drop(topics) { if (topics[0]) make((it) => it.drop(topics)); },

    // --- For the connection

    /** @param {AbortSignal} signal */
    run(signal) { self.line.run(signal); },
    tick() { self.line.tick(); },
    begin: () => ({ last_event_id: self.position, from: self.start }),

    async wants() {
      await (shares || waiting[0] ? extend() : recall());
      return { topics: self.topics };
    },

    /** @type {import('./connection.js').Subscriber['tell']} */
    tell(...news) {
      if (queue && news[0] !== 'state') queue.push(news);
      else if (!self.isOver) self.take(...news);
    },

    /** @param {Trouble} why */
    refuse: (why) => make((it) => it.refuse(why)),

    fail: close,

    // --- To the page

    /** @param {string} kind @param {any} [detail] @param {string} [at] */
    take(kind, detail, at) {
      if (kind === 'join' && detail.gap && (self.position ?? self.start)) self.reportGap(detail.gap);
      if (at && !self.isOver) self.advance(at); // a listener may have closed the stream
      if (kind === 'event') self.deliver(detail);
      if (kind === 'state') turn(detail);
      if (kind === 'gap') self.reportGap(detail);
      if (kind === 'goodbye') emit('outcrier.goodbye', detail);
    },

    /** @param {string} at */
    advance(at) {
      self.position = at;
      self.start = undefined;
      self.kept?.keep(at);
    },

    /** @param {Event} event */
    deliver(event) {
      if (seen.has(event.id)) return;
      seen.add(event.id);
      const [oldest] = seen;
      if (seen.size > 2048) seen.delete(oldest);
      emit(event.type, event);
    },

    /** @param {unknown} gap */
    reportGap(gap) {
      seen.clear(); // in another history the ids are others'
      emit('outcrier.gap', gap);
    },
  };
  return self;
}
