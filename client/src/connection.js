import { poll } from './poll.js';
import { stream } from './stream.js';
import { websocket } from './websocket.js';

/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('../outcrier.d.ts').State} State */

/**
 * How events come: it asks for the topics, tells what comes, and throws why it ended.
 *
 * @typedef {(link: Link, topics: string[], signal: AbortSignal) => Promise<void>} Transport
 */

/**
 * What a transport knows of its connection.
 *
 * @typedef {object} Link
 * @property {ReturnType<typeof import('./requests.js').requests>} requests
 * @property {Desk['begin']} begin
 * @property {Desk['join']} join
 * @property {Desk['tell']} tell
 * @property {() => void} expectFirst what comes first is late after the patience
 * @property {(ms: number) => void} expect what comes next is late after so long
 * @property {() => void} hear something has come
 * @property {(type: string, detail: any, at: string) => void} take an event has come. Throws the end of the stream
 * @property {(ms: number) => void} setRetry
 * @property {() => Trouble} ended
 * @property {() => Promise<void>} probe asks as the transport does, by poll. Throws why that is refused
 * @property {() => void} giveWay another transport is next
 * @property {() => boolean} isOver a better transport is to be tried
 * @property {((change: {add?: string[], drop?: string[]}) => void) | undefined} [send] changes the topics of this connection
 */

/**
 * Where what comes goes to.
 *
 * @typedef {object} Desk
 * @property {() => Record<string, string | undefined>} begin where the next attempt begins, as a query
 * @property {() => Promise<string[]>} topics what the next attempt asks for
 * @property {(at: string | undefined, gap?: import('../outcrier.d.ts').Gap) => void} join the connection stands there
 * @property {(at: string) => void} moved it has the topics that it was asked to change to
 * @property {(kind: string, detail?: unknown, at?: string) => void} tell
 * @property {() => void} check what is wanted may have changed while there was no connection
 * @property {(trouble: Trouble) => boolean} refuse a topic is refused. Reports whether it was asked for
 * @property {(trouble: Trouble) => void} fail no attempt will be better
 */

/** Why an attempt is ended that nothing is wrong with. */
const planned = {};

/** @type {Record<'stream' | 'websocket' | 'poll', Transport>} */
const transports = { stream, websocket, poll };

const isOffline = () => globalThis.navigator?.onLine === false;

/**
 * The connection to the server: one attempt after the other, each by the best transport
 * that gets through.
 *
 * @param {import('../outcrier.d.ts').Options} options
 * @param {Link['requests']} requests
 * @param {Desk} desk
 */
export function connection(options, requests, desk) {
  let { heartbeat = 15_000 } = options;
  const { patience = 5000, retry: { min = 1000, max = 30_000, factor = 2, attempts = Infinity } = {} } = options;
  const first = options.transport;
  /** @type {('stream' | 'websocket' | 'poll')[]} */
  const ways = [];
  if (globalThis.Response && 'body' in Response.prototype) ways.push('stream');
  if (globalThis.WebSocket) ways[first === 'websocket' ? 'unshift' : 'push']('websocket');
  ways.push('poll');
  if (first === 'poll') ways.reverse();
  let way = 0;
  let better = 0; // when the first of them is tried again

  let attempt = new AbortController();
  let began = 0; // when the first byte of this attempt came, if any has
  let heard = 0; // when the last one did
  let due = Infinity; // ms from one to the next, at most
  let probing = false;
  let held = 0; // streams of which only the beginning came, one after the other
  /** @type {State | undefined} */
  let told;
  let failures = 0; // attempts that failed, one after the other
  /** @type {number | undefined} */
  let retry; // ms, as the server told
  /** @type {string[]} */
  let asked = [];
  let wake = () => {};

  /** @param {number} ms */
  function sleep(ms) {
    return new Promise((resolve) => {
      wake = () => resolve(0);
      setTimeout(wake, ms);
    });
  }

  /** @param {State} state @param {Trouble & {retryIn?: number}} [why] */
  function say(state, why) {
    // One that is live stays so until there is trouble.
    if (told === 'live' && (state === 'connecting' || state === 'replaying')) return;
    told = state;
    desk.tell('state', { state, via: ways[way], ...why });
  }

  /** @type {Link} */
  const link = {
    requests,
    begin: desk.begin,
    join: desk.join,
    tell: desk.tell,
    expect(ms) {
      heard = Date.now();
      due = ms;
    },
    expectFirst: () => link.expect(patience * (failures + 1)),
    hear() {
      began ||= Date.now();
      link.expect(2.5 * heartbeat);
      desk.tell('beat');
    },
    setRetry(ms) { retry = ms; },
    ended: () => ({ reason: 'ended', wait: failures ? undefined : retry }),
    isOver: () => way > 0 && Date.now() > better,
    giveWay() {
      way = (way + 1) % ways.length;
      better = Date.now() + 300_000;
      held = 0;
    },
    async probe() {
      await requests.page(asked, { wait: '0s', limit: '1' }, AbortSignal.timeout(4 * patience));
    },
    take(type, detail, at) {
      if (type === 'outcrier.hello') {
        failures = 0;
        ({ heartbeat = heartbeat, retry = retry } = detail);
        link.expect(2.5 * heartbeat);
        desk.join(at, detail.resumed === 'gap' && detail);
        say('replaying');
        desk.check();
      } else if (type === 'outcrier.topics') {
        desk.moved(at);
      } else if (type === 'outcrier.error') {
        desk.refuse(detail);
      } else {
        desk.tell(type.startsWith('outcrier.') ? type.slice(9) : 'event', detail, at);
      }
      if (type === 'outcrier.live') {
        failures = 0;
        say('live');
        desk.check();
      }
      if (type === 'outcrier.goodbye') {
        const { reason } = detail;
        const soon = /^(token|key)_/.test(reason);
        if (soon) requests.refuse(reason);
        throw { reason, soon, wait: detail.retry ?? retry };
      }
    },
  };

  async function attend() {
    asked = await desk.topics();
    say(asked[0] ? 'connecting' : 'idle');
    if (asked[0]) return transports[ways[way]](link, asked, attempt.signal);
    began = Date.now();
    desk.join(desk.begin().last_event_id);
    await sleep(max);
  }

  /** @param {Trouble} trouble */
  async function suffer({ reason = 'unreachable', final, status, message, detail = message, soon, wait, topic }) {
    if (final && topic && desk.refuse({ status, detail, topic })) return;
    if (final || failures >= attempts) return desk.fail({ reason, status, detail });
    if (!began && ways[way] === 'poll') way = 0; // it was not the proxy
    wait = soon && !failures ? 0 : (wait ?? Math.random() * Math.min(max, min * factor ** failures));
    failures++;
    if (isOffline()) wait = max;
    if (wait) say(isOffline() ? 'offline' : 'waiting', { reason, status, detail, retryIn: wait });
    await sleep(wait);
  }

  // Something is late. A poll finds out whether the network is to blame, or a line that is
  // slow, or other streams that take all of the browser's connections: then it is late too.
  // If not, a proxy holds back the stream: all of it, or what comes after its beginning.
  async function suspect() {
    const { signal } = attempt;
    const late = heard;
    let reason = 'silent';
    if (ways[way] !== 'poll' && (!began || heard - began < 2 * heartbeat)) {
      probing = true;
      const through = await link.probe().then(() => true, () => false);
      probing = false;
      if (late !== heard || signal !== attempt.signal) return; // it has come
      if (through && (!began || ++held > 1)) {
        link.giveWay();
        reason = '';
      }
    } else held = 0;
    attempt.abort(reason ? { reason } : planned);
  }

  return {
    /** @param {AbortSignal} signal */
    async run(signal) {
      told = undefined;
      signal.addEventListener('abort', () => {
        attempt.abort(planned);
        wake();
      });
      while (!signal.aborted) {
        attempt = new AbortController();
        began = 0;
        due = Infinity;
        if (link.isOver()) way = 0;
        try {
          await attend();
        } catch (error) {
          const trouble = attempt.signal.aborted ? attempt.signal.reason : error;
          attempt.abort(planned);
          due = Infinity;
          if (trouble !== planned && !signal.aborted) await suffer(trouble);
        }
      }
    },

    // A clock goes on while the machine sleeps: the first tick after it knows.
    tick() {
      desk.tell('beat');
      if (Date.now() - heard > due) {
        if (!probing) suspect();
      } else if (requests.isDue()) {
        // Without a new one the stream goes on until the server ends it.
        requests.authorize().then((fresh) => fresh && attempt.abort(planned), () => {});
      }
    },

    heartbeat: () => heartbeat,

    /** Reports whether there is a connection whose topics can be changed. */
    flows: () => began > 0,

    /**
     * Asks for other topics. Reports whether they are the same.
     *
     * @param {string[]} topics
     */
    change(topics) {
      const add = topics.filter((topic) => !asked.includes(topic));
      const drop = asked.filter((topic) => !topics.includes(topic));
      if (!add[0] && !drop[0]) return true;
      if (link.send && topics[0]) {
        asked = topics;
        link.send({ add, drop });
      } else {
        attempt.abort(planned);
        wake();
      }
      return false;
    },

    wake: () => wake(),
    /** @param {boolean} is */
    online(is) {
      way = 0;
      if (is) wake();
      else attempt.abort({ reason: 'offline' });
    },
  };
}
