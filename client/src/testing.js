import { covers } from './covers.js';
import { listed } from './listed.js';
import { listeners } from './listeners.js';

/** @type {typeof import('../testing.d.ts').fakeStream} */
export function fakeStream(url = '/events', options = {}) {
  const { emit, methods } = listeners();
  let topics = listed(options.topics);
  /** @type {import('../outcrier.d.ts').StateChange} */
  let now = { state: topics[0] ? 'connecting' : 'idle', via: options.transport ?? 'stream' };
  /** @type {string | undefined} */
  let position;
  let last = 0;

  /** @param {Partial<import('../outcrier.d.ts').StateChange>} change */
  function turn(change) {
    const before = now;
    if (before.state === 'closed' || change.state === before.state) return;
    now = { state: before.state, via: before.via, ...change };
    emit('outcrier.state', now);
    if (now.state === 'live') emit('outcrier.live', now);
  }

  /** @type {any} */
  const stream = {
    url: String(url),
    options,
    get topics() { return topics; },
    get state() { return now.state; },
    get via() { return now.via; },
    get position() { return position; },
    ...methods,
    /** @param {string | readonly string[]} more */
    add(more) { topics = [...new Set([...topics, ...listed(more)])]; },
    /** @param {string | readonly string[]} less */
    drop(less) { topics = topics.filter((topic) => !listed(less).includes(topic)); },
    close() { turn({ state: 'closed', reason: 'closed' }); },

    /** @param {any} given */
    give(given) {
      const id = String(++last);
      const topic = given.topic ?? topics[0]?.replace(/\/?\*\*$/, '').replaceAll('*', 'any');
      const event = { specversion: '1.0', id, source: '/', topic, time: new Date().toISOString(), datacontenttype: 'application/json', data: {}, ...given };
      if (now.state === 'closed' || !topics.some((pattern) => covers(pattern, event.topic))) return undefined;
      if (now.state !== 'live' && now.state !== 'replaying') turn({ state: 'live' });
      position = `${event.id}.fake`;
      emit(event.type, event);
      return event;
    },
    /** @param {import('../outcrier.d.ts').State} state @param {object} why */
    become(state = 'live', why = {}) { turn({ ...why, state }); },
    /** @param {object} gap */
    gap(gap) { emit('outcrier.gap', { reason: 'trimmed', ...gap }); },
    goodbye(reason = 'drain') { emit('outcrier.goodbye', { reason }); },
    /** @param {string} topic @param {object} why */
    refuse(topic, why) {
      stream.drop(topic);
      emit('outcrier.refused', { topic, status: 403, detail: `topic "${topic}" is not granted`, ...why });
    },
  };
  return stream;
}

/** @type {typeof import('../testing.d.ts').fakeConnect} */
export function fakeConnect() {
  /** @type {any[]} */
  const streams = [];
  return {
    streams,
    connect(url, options) {
      const stream = fakeStream(url, options);
      streams.push(stream);
      return /** @type {any} */ (stream);
    },
  };
}
