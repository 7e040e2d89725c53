import { parts } from './parts.js';

/**
 * What is wrong with an attempt.
 *
 * @typedef {object} Trouble
 * @property {string} [reason] as of `outcrier.state`; "unreachable" if there is none
 * @property {number} [status]
 * @property {string} [detail]
 * @property {string} [message] of an Error: why there is no answer
 * @property {string} [topic] the one that is refused
 * @property {boolean} [final] another attempt would end in the same way
 * @property {boolean} [soon] the next attempt is made at once, if it is the first
 * @property {number} [wait] ms until the next attempt
 */

/**
 * Requests to the server, with the token that is good at the time.
 *
 * @param {URL} url
 * @param {Pick<import('../outcrier.d.ts').Options, 'types' | 'token' | 'credentials'>} options
 */
export function requests(url, { types = [], token, credentials }) {
  /** @type {string | undefined} */
  let jwt;
  let renewal = Infinity; // when to ask for another
  /** @type {Trouble | undefined} */
  let refused; // why it is not good
  let renewed = false; // it was got because another one was refused

  /** Gets a token, which is another than the one refused. Reports whether it is another. */
  async function authorize() {
    renewal = Infinity;
    const next = (await (typeof token === 'function' ? token() : token)) ?? '';
    const why = refused;
    if (next === jwt) {
      if (why?.topic) refused = undefined; // it is good for the others
      if (why) throw why;
      return false;
    }
    jwt = next;
    renewed = !!why;
    refused = undefined;
    // Without it, or if the token is no JWT, the server says when it is over.
    if (next && typeof token === 'function') {
      parts.renewal().then(({ renewal: of }) => { if (next === jwt) renewal = of(next); }).catch(() => {});
    }
    return true;
  }

  const isDue = () => Date.now() > renewal;

  async function current() {
    if (jwt === undefined || refused || isDue()) await authorize();
    return jwt;
  }

  /**
   * @param {string[]} topics
   * @param {Record<string, string | undefined>} query
   */
  function address(topics, query) {
    const target = new URL(url);
    const { searchParams } = target;
    for (const topic of topics) searchParams.append('topic', topic);
    for (const type of types) searchParams.append('type', type);
    for (const name in query) if (query[name]) searchParams.set(name, query[name]);
    return target;
  }

  /**
   * Asks, and returns the answer if it is of the type wanted. Throws Trouble.
   *
   * @param {string[]} topics
   * @param {Record<string, string | undefined>} query
   * @param {string} accept
   * @param {AbortSignal} signal
   * @param {() => void} [sent] is called when there is a token, and the request leaves
   */
  async function ask(topics, query, accept, signal, sent) {
    const used = await current();
    sent?.();
    const response = await fetch(address(topics, query), {
      headers: { Accept: accept, ...(used ? { Authorization: `Bearer ${used}` } : {}) },
      signal,
      credentials,
    });
    const { headers, status } = response;
    if (status === 200 && headers.get('Content-Type')?.startsWith(accept)) {
      renewed = false;
      return response;
    }

    const { detail, topic } = await response.json().catch(() => ({}));
    const final = status < 500 && ![200, 404, 408, 425, 429].includes(status);
    const reason = status === 204 ? 'stopped' : final ? 'refused' : 'unavailable';
    const after = Number(headers.get('Retry-After'));
    const wait = after > 0 ? 1000 * (after + Math.random()) : undefined;
    const trouble = { reason, status, detail, topic, final, wait };
    // Another token may be granted the topic; but if it is not, one is enough.
    if ((status !== 401 && status !== 403) || (topic && (renewed || typeof token !== 'function'))) throw trouble;
    if (used === jwt) refused = trouble;
    throw { ...trouble, final: false, soon: true };
  }

  return {
    authorize,
    isDue,
    token: current,
    address,
    ask,

    /** @param {string} reason why the token is good no more */
    refuse(reason) {
      if (jwt) refused = { reason, final: true };
    },

    /**
     * A page of events by long poll.
     *
     * @param {string[]} topics
     * @param {Record<string, string | undefined>} query
     * @param {AbortSignal} signal
     * @param {() => void} [sent]
     * @returns {Promise<{events: import('../outcrier.d.ts').OutcrierEvent[], position: string, gap: import('../outcrier.d.ts').Gap | null}>}
     */
    page: async (topics, query, signal, sent) => (await ask(topics, query, 'application/json', signal, sent)).json(),
  };
}
