import { connection } from './connection.js';
import { parts } from './parts.js';
import { pauses } from './pauses.js';

/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('../outcrier.d.ts').OutcrierEvent} Event */
/** @typedef {import('../outcrier.d.ts').StateChange} StateChange */

/**
 * What a page follows, where it stands, and what it is given: each event once. It is for
 * topics that stay the same; with the first change of them, and for tabs that share a
 * connection, changes.js takes over much of it.
 *
 * @param {object} page
 * @param {string[]} page.topics
 * @param {string} [page.from] where to begin without a position
 * @param {string} [page.area] of the tabs that share the connection
 * @param {(() => Promise<ReturnType<typeof import('./memory.js').memory>>) | undefined} page.recall what keeps the position
 * @param {ReturnType<typeof import('./requests.js').requests>} page.requests
 * @param {(type: string, event: unknown) => void} page.emit
 * @param {(next: Partial<StateChange>) => void} page.turn
 * @param {(why: Partial<StateChange>) => void} page.close
 * @param {import('../outcrier.d.ts').Options} page.options
 */
export function reader({ topics, from, area, recall, requests, emit, turn, close, options }) {
  const pause = pauses(options.retry);
  /** @type {Set<string>} */
  const seen = new Set(); // ids of the newest events given
  let session = new AbortController(); // from open to end
  /** @type {ReturnType<typeof setInterval>} */
  let ticks;
  /** @type {['add' | 'drop', string[], string?][]} */
  const waiting = []; // changes of topics, for changes.js
  /** @type {[kind: string, detail: any, at?: string][] | undefined} */
  let queue; // what comes until it is there

  async function extend() {
    queue ??= [];
    const [{ changes }, sharing] = await Promise.all([parts.changes(), area ? parts.tabs() : undefined, remember()]);
    if (!queue || self.isOver) return;
    const missed = queue;
    queue = undefined;
    Object.assign(self, changes(self, options, area, sharing));
    for (const [how, topics, from] of waiting.splice(0)) self[how](topics, from);
    if (area) restart();
    else for (const news of missed) self.tell(...news);
  }

  async function remember() {
    self.kept ??= await recall?.();
    self.position ??= self.kept?.load(self.topics);
  }

  /** @param {'add' | 'drop'} how @param {string[]} topics @param {string} [from] */
  function change(how, topics, from) {
    waiting.push([how, topics, from]);
    // A stream ends for it in any case, and may have the browser's last connection.
    if (self.line?.link.send) extend().catch(self.line.stop);
    else self.line?.stop();
  }

  function restart() {
    session.abort();
    session = new AbortController();
    self.renew?.();
    self.line = connection(options, requests, pause, self);
    self.run(session.signal);
  }

  const self = {
    topics,
    position: /** @type {string | undefined} */ (undefined),
    start: from,
    line: /** @type {ReturnType<typeof connection>} */ (/** @type {any} */ (undefined)), // once it is open
    get isOver() { return session.signal.aborted; },
    kept: /** @type {ReturnType<typeof import('./memory.js').memory> | undefined} */ (undefined),
    pause,
    requests,
    turn,
    restart,
    renew: /** @type {undefined | (() => void)} */ (undefined),
    check: /** @type {undefined | (() => void)} */ (undefined),

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
    /** @param {boolean} is */
    online: (is) => self.line?.online(is),
    /** @param {string[]} topics @param {string} [from] */
    add: (topics, from) => change('add', topics, from),
    /** @param {string[]} topics */
    drop: (topics) => change('drop', topics),

    // --- For the connection

    /** @param {AbortSignal} signal */
    run(signal) { self.line.run(signal); },
    tick() { self.line.tick(); },
    begin: () => ({ last_event_id: self.position, from: self.start }),

    async wants() {
      await (area || waiting[0] ? extend() : remember());
      return { topics: self.topics };
    },

    /** @param {string} kind @param {any} [detail] @param {string} [at] */
    tell(kind, detail, at) {
      if (queue && kind !== 'state') queue.push([kind, detail, at]);
      else if (!self.isOver) self.take(kind, detail, at);
    },

    /** @param {Trouble} why */
    refuse(why) {
      self.topics = self.topics.filter((topic) => topic !== why.topic);
      self.refused(why);
    },

    fail: close,

    // --- To the page

    /** @param {string} kind @param {any} [detail] @param {string} [at] */
    take(kind, detail, at) {
      if (kind === 'join' && detail.gap && (self.position ?? self.start)) self.miss(detail.gap);
      if (at && !self.isOver) self.stand(at); // a listener may have closed the stream
      if (kind === 'event') self.give(detail);
      if (kind === 'state') turn(detail);
      if (kind === 'gap') self.miss(detail);
      if (kind === 'goodbye') emit('outcrier.goodbye', detail);
    },

    /** @param {string} at */
    stand(at) {
      self.position = at;
      self.start = undefined;
      self.kept?.keep(at);
    },

    /** @param {Event} event */
    give(event) {
      if (seen.has(event.id)) return;
      seen.add(event.id);
      const [oldest] = seen;
      if (seen.size > 2048) seen.delete(oldest);
      emit(event.type, event);
    },

    /** @param {unknown} gap */
    miss(gap) {
      seen.clear(); // in another history the ids are others'
      emit('outcrier.gap', gap);
    },

    /** @param {Trouble} why */
    refused({ topic = '', status, detail }) {
      emit('outcrier.refused', { topic, status, detail });
      // What was added does not end the stream.
      if (!self.topics[0] && !waiting[0] && topics.includes(topic)) close({ reason: 'refused', status, detail });
    },
  };
  return self;
}
