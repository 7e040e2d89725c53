import { parts } from './parts.js';
import { stream } from './stream.js';

/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('../outcrier.d.ts').State} State */

/**
 * How events come: it asks for the topics, tells what comes, and returns why it ended, or
 * nothing if it gives way to another. Throws Trouble.
 *
 * @typedef {(link: Link, topics: string[], signal: AbortSignal) => Promise<string | void>} Transport
 */

/**
 * The tabs that a connection is for: their topics, and by tabs.js which they are.
 *
 * @typedef {{topics: string[], tabs?: number[]}} Crowd
 */

/**
 * What a transport knows of its connection.
 *
 * @typedef {object} Link
 * @property {ReturnType<typeof import('./requests.js').requests>} requests
 * @property {Desk} desk
 * @property {(at: string | undefined, crowd?: Crowd, gap?: unknown) => void} arrive the connection stands there, for them
 * @property {() => void} expectFirst what comes first is late after the patience
 * @property {(ms: number) => void} expect what comes next is late after so long
 * @property {() => void} hear something has come
 * @property {(type: string, detail: any, at: string) => void} take an event has come. Throws the end of the stream
 * @property {(why: Trouble) => boolean} refuse a topic is refused. Reports whether it was asked for
 * @property {(ms: number) => void} setRetry
 * @property {Crowd} asked whom it is for, or will be by the answers to come
 * @property {(add: string[], drop: string[], crowd: Crowd) => void} [send] changes the topics of this connection
 */

/**
 * Where what comes goes to.
 *
 * @typedef {object} Desk
 * @property {() => Record<string, string | undefined>} begin where the next attempt begins, as a query
 * @property {() => Promise<Crowd>} wants whom the next attempt is for. Throws Trouble
 * @property {(kind: string, detail?: any, at?: string) => void} tell
 * @property {() => void} [check] what is wanted may have changed while there was no connection
 * @property {(why: Trouble) => void} refuse a topic is refused
 * @property {(why: Trouble) => void} fail no attempt will be better
 */

/** Why an attempt is ended that nothing is wrong with. */
const planned = {};

/**
 * The connection to the server: one attempt after the other.
 *
 * @param {import('../outcrier.d.ts').Options} options
 * @param {Link['requests']} requests
 * @param {ReturnType<typeof import('./pauses.js').pauses>} pause
 * @param {Desk} desk
 */
export function connection({ heartbeat = 15_000, patience = 5000, transport = 'stream', retry: { attempts = Infinity } = {} }, requests, pause, desk) {
  let attempt = new AbortController();
  let began = 0; // when the first byte of this attempt came, if any has
  let heard = 0; // when the last one did
  let due = Infinity; // ms from one to the next, at most
  let isLive = false;
  let probing = false;
  /** @type {State | undefined} */
  let told;
  let failures = 0; // attempts that failed, one after the other
  /** @type {number | undefined} */
  let retry; // ms, as the server told
  /** @type {ReturnType<Awaited<ReturnType<typeof parts.ways>>['ways']> | undefined} */
  let ways; // where streams are not what there is to try

  const getWays = async () => (ways ??= (await parts.ways()).ways(link, transport, stream, patience));

  /** @param {State} state @param {object} [why] */
  function say(state, why) {
    // One that is live stays so until there is trouble.
    if (told === 'live' && (state === 'connecting' || state === 'replaying')) return;
    told = state;
    desk.tell('state', { state, via: ways?.via ?? 'stream', ...why });
  }

  /** @param {unknown} [why] the trouble, if there is any */
  function stop(why = planned) {
    due = Infinity;
    attempt.abort(why);
    pause.wake();
  }

  /** @type {Link} */
  const link = {
    asked: { topics: [] },
    requests,
    desk,
    arrive: (at, crowd = link.asked, gap) => desk.tell('join', { ...crowd, gap, isLive, heartbeat }, at),
    expect(ms) {
      heard = Date.now();
      due = ms;
    },
    expectFirst: () => link.expect(patience * (failures + 1)),
    hear() {
      link.expect(2.5 * heartbeat);
      began ||= heard;
      desk.tell('beat');
    },
    setRetry(ms) { retry = ms; },
    refuse(why) {
      const is = link.asked.topics.includes(/** @type {string} */ (why.topic));
      if (is) desk.refuse(why);
      return is;
    },
    take(type, detail, at) {
      const own = type.startsWith('outcrier.') && type.slice(9);
      if (own === 'hello') {
        ({ heartbeat = heartbeat, retry = retry } = detail);
        link.expect(2.5 * heartbeat);
        link.arrive(at, link.asked, detail.resumed === 'gap' && detail);
      } else desk.tell(own || 'event', detail, at);
      if (own === 'hello' || own === 'live') {
        isLive = own === 'live';
        failures = 0;
        say(isLive ? 'live' : 'replaying');
        desk.check?.();
      }
      if (own === 'goodbye') {
        const { reason, retry: wait = retry } = detail;
        const soon = /^(token|key)_/.test(reason);
        if (soon) requests.refuse(reason);
        throw { reason, soon, wait };
      }
    },
  };

  async function attend() {
    const { signal } = attempt;
    link.asked = await desk.wants();
    if (transport !== 'stream' || !('body' in Response.prototype)) await getWays();
    signal.throwIfAborted();
    const { topics } = link.asked;
    const by = ways?.next() ?? stream;
    say(topics[0] ? 'connecting' : 'idle');
    if (topics[0]) return by(link, topics, signal);
    began = 1;
    link.arrive(desk.begin().last_event_id);
    await pause.sleep(pause.longest);
  }

  /** @param {Trouble} trouble */
  async function suffer(trouble) {
    const { reason = 'unreachable', final, status, message, detail = message, soon, wait = pause.backoff(failures) } = trouble;
    if (final && link.refuse(trouble)) return;
    if (final || failures >= attempts) return desk.fail({ reason, status, detail });
    if (!began) ways?.failed();
    const offline = globalThis.navigator?.onLine === false;
    const retryIn = offline ? pause.longest : soon && !failures ? 0 : wait;
    failures++;
    if (retryIn) say(offline ? 'offline' : 'waiting', { reason, status, detail, retryIn });
    await pause.sleep(retryIn);
  }

  // Something is late: the network is lost, unless another way gets through that we find.
  async function suspect() {
    const { signal } = attempt;
    const late = heard;
    const isLate = () => late === heard && signal === attempt.signal;
    probing = true;
    // What was good for long needs no other way.
    const isOther = (!began || heard - began < 2 * heartbeat) && (await Promise.race([
      getWays().then(({ doubt }) => doubt(began, isLate)).catch(() => false),
      pause.sleep(4 * patience),
    ]));
    probing = false;
    if (isLate()) stop(isOther ? planned : { reason: 'silent' });
  }

  return {
    /** @param {AbortSignal} signal */
    async run(signal) {
      signal.addEventListener('abort', () => stop());
      while (!signal.aborted) {
        attempt = new AbortController();
        began = 0;
        isLive = false;
        /** @type {any} */
        let trouble = planned;
        try {
          const reason = await attend();
          if (reason) trouble = { reason, wait: failures ? undefined : retry };
        } catch (error) {
          trouble = error;
        }
        if (attempt.signal.aborted) trouble = attempt.signal.reason;
        stop();
        if (trouble !== planned) await suffer(trouble);
      }
    },

    // A clock goes on while the machine sleeps: the first tick after it knows.
    tick() {
      desk.tell('beat');
      if (Date.now() - heard > due) {
        if (!probing) suspect();
      } else if (requests.isDue()) {
        // Without a new one the stream goes on until the server ends it.
        requests.authorize().then((fresh) => fresh && stop(), () => {});
      }
    },

    stop,
    link,

    /** Reports whether there is a connection whose topics can be changed. */
    flows: () => began > 0 && !attempt.signal.aborted,

    /** @param {boolean} is */
    online(is) {
      ways?.reset();
      if (is) pause.wake();
      else stop({ reason: 'offline' });
    },
  };
}
