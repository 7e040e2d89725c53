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
 * @typedef {{topics: string[], tabs?: number[]}} Audience
 */

/**
 * What a transport knows of its connection.
 *
 * @typedef {object} Link
 * @property {ReturnType<typeof import('./requests.js').requests>} requests
 * @property {Subscriber} subscriber
 * @property {(at: string | undefined, audience?: Audience, gap?: unknown) => void} arrive the connection stands there, for them
 * @property {(ms?: number) => void} expect what comes next is late after so long; by default, 1.5 heartbeats
 * @property {() => void} hear something has come
 * @property {(type: string, detail: any, at: string) => void} take an event has come. Throws the end of the stream
 * @property {(ms: number) => void} setRetry
 * @property {Audience} asked whom it is for, or will be by the answers to come
 * @property {(add: string[], drop: string[], audience: Audience) => void} [alter] changes the topics of this connection
 */

/**
 * Where what comes goes to.
 *
 * @typedef {object} Subscriber
 * @property {() => Record<string, string | undefined>} begin where the next attempt begins, as a query
 * @property {() => Promise<Audience>} wants whom the next attempt is for. Throws Trouble
 * @property {(...news: [kind: string, detail?: any, at?: string]) => void} tell
 * @property {() => void} [beat] the connection is there, or still looked after
 * @property {() => void} [check] what is wanted may have changed while there was no connection
 * @property {(why: Trouble) => void} refuse a topic is refused
 * @property {(why: Trouble) => void} fail no attempt will be better
 */

/**
 * The connection to the server: one attempt after the other.
 *
 * @param {import('../outcrier.d.ts').Options} options
 * @param {Link['requests']} requests
 * @param {ReturnType<typeof import('./pauses.js').pauses>} pause
 * @param {Subscriber} subscriber
 */
export function connection({ heartbeat = 15_000, patience = 5000, transport = 'stream', retry: { attempts = Infinity } = {} }, requests, pause, subscriber) {
  let attempt = new AbortController();
  let began = 0; // when the first byte of this attempt came, if any has
  let heard = Infinity; // when the last one did; Infinity where none is waited for
  /** @type {number | undefined} */
  let due; // ms from one to the next, at most; undefined, by the heartbeat
  let isLive = false;
  /** @type {State | undefined} */
  let told;
  let failures = 0; // attempts that failed, one after the other
  /** @type {number | undefined} */
  let retry; // ms, as the server told
  /** @type {ReturnType<Awaited<ReturnType<typeof parts.transports>>['transports']> | undefined} */
  let transports; // where streams are not what there is to try

  async function getTransports() {
    const part = await parts.transports();
    return (transports ??= part.transports(link, transport, stream, patience));
  }

  /** @param {State} state @param {object} [why] */
  function say(state, why) {
    // One that is live stays so until there is trouble.
    if (told === 'live' && (state === 'connecting' || state === 'replaying')) return;
    told = state;
    subscriber.tell('state', { state, via: transports?.via ?? 'stream', ...why });
  }

  /** @param {Trouble | null} [why] null if nothing is wrong: the next attempt is made at once */
  function stop(why = null) {
    heard = Infinity;
    attempt.abort(why);
    pause.wake();
  }

  /** @type {Link} */
  const link = {
    asked: { topics: [] },
    requests,
    subscriber,
    arrive: (at, audience = link.asked, gap) => subscriber.tell('join', { ...audience, gap, isLive, heartbeat }, at),
    expect(ms) {
      heard = Date.now();
      due = ms;
    },
    hear() {
      link.expect();
      began ||= heard;
      subscriber.beat?.();
    },
    setRetry(ms) { retry = ms; },
    take(type, detail, at) {
      const own = type.startsWith('outcrier.') && type.slice(9);
      if (own === 'hello') {
        ({ heartbeat = heartbeat, retry = retry } = detail);
        link.arrive(at, link.asked, detail.resumed === 'gap' && detail);
      } else subscriber.tell(own || 'event', detail, at);
      if (own === 'hello' || own === 'live') {
        isLive = own === 'live';
        failures = 0;
        say(isLive ? 'live' : 'replaying');
        subscriber.check?.();
      }
      if (own === 'goodbye') {
        const { reason, retry: wait = retry } = detail;
        throw { reason, wait, ...(/^(token|key)_/.test(reason) && requests.expire(reason)) };
      }
    },
  };

  async function tryOnce() {
    const { signal } = attempt;
    link.asked = await subscriber.wants();
    if (transport !== 'stream' || !('body' in Response.prototype)) await getTransports();
    signal.throwIfAborted();
    const { topics } = link.asked;
    const by = transports?.next() ?? stream;
    say(topics[0] ? 'connecting' : 'idle');
    if (topics[0]) {
      await requests.bearer(); // the time that it takes is not the server's
      signal.throwIfAborted();
      link.expect(patience * (failures + 1));
      return by(link, topics, signal);
    }
    began = 1;
    link.arrive(subscriber.begin().last_event_id);
    await pause.sleep(pause.longest);
  }

  /** @param {Trouble} trouble */
  async function afterFailure(trouble) {
    const { reason = 'unreachable', topic = '', final, status, message, detail = message, soon, wait } = trouble;
    if (final && link.asked.topics.includes(topic)) return subscriber.refuse(trouble);
    if (final || failures >= attempts) return subscriber.fail({ reason, status, detail });
    if (!began) transports?.failed();
    const offline = globalThis.navigator?.onLine === false;
    const retryIn = offline ? pause.longest : soon && !failures ? 0 : wait || pause.backoff(failures);
    failures++;
    if (retryIn) say(offline ? 'offline' : 'waiting', { reason, status, detail, retryIn });
    await pause.sleep(retryIn);
  }

  // Something is late. If a poll is answered sooner, the stream is lost; if the poll is late
  // too, the line may be slow, and the stream has some more time.
  async function checkLate() {
    const late = heard;
    const isLate = () => late === heard;
    due = Infinity; // this is on its way
    pause.sleep(3 * patience).then(() => isLate() && stop({ reason: 'silent' }));
    const isOther = await getTransports().then((them) => them.checkSilence(began, late, heartbeat, isLate)).catch(() => {});
    if (isLate()) stop(isOther ? null : { reason: 'silent' });
  }

  return {
    /** @param {AbortSignal} signal */
    async run(signal) {
      signal.addEventListener('abort', () => stop());
      while (!signal.aborted) {
        attempt = new AbortController();
        began = 0;
        isLive = false;
        const ended = await tryOnce().then((reason) => reason && { reason, wait: !failures && retry }, (trouble) => trouble);
        const { aborted, reason: why } = attempt.signal;
        stop();
        const trouble = aborted ? why : ended;
        if (trouble) await afterFailure(trouble);
      }
    },

    // A clock goes on while the machine sleeps: the first tick after it knows.
    tick() {
      subscriber.beat?.();
      if (Date.now() - heard > (due ?? 1.5 * heartbeat)) checkLate();
      // Without a new token the stream goes on until the server ends it.
      else requests.renew().then((fresh) => fresh && stop(), () => {});
    },

    stop,
    link,

    /** Reports whether there is a connection whose topics can be changed. */
    flows: () => began > 0 && !attempt.signal.aborted,

    /** @param {Event} event the browser's, `online` or `offline` */
    online({ type }) {
      transports?.reset();
      if (type === 'online') pause.wake();
      else stop({ reason: type });
    },
  };
}
