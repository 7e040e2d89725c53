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
 * @property {number | false} [wait] ms until the next attempt; without it, by the number of failures
 */

/**
 * What a long poll is answered.
 *
 * @typedef {object} Page
 * @property {import('../outcrier.d.ts').OutcrierEvent[]} events
 * @property {string} position
 * @property {import('../outcrier.d.ts').Gap | null} gap
 */

/**
 * Requests to the server, with the token that is good at the time. Those of a function are
 * held by tokens.js.
 *
 * @param {URL} url
 * @param {Pick<import('../outcrier.d.ts').Options, 'types' | 'token' | 'credentials'>} options
 */
export function requests(url, { types = [], token, credentials }) {
  /** @type {Promise<ReturnType<typeof import('./tokens.js').tokens>> | undefined} */
  let tokens; // those that a function returns

  async function bearer() {
    if (typeof token !== 'function') return token;
    tokens ??= Promise.all([token(), parts.tokens()]).then(
      ([first, part]) => part.tokens(token, first),
      (error) => {
        tokens = undefined; // the next attempt asks again
        throw error;
      },
    );
    return (await tokens).current();
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
   */
  async function ask(topics, query, accept, signal) {
    const used = await bearer();
    const response = await fetch(address(topics, query), {
      headers: { Accept: accept, ...(used && { Authorization: `Bearer ${used}` }) },
      signal,
      credentials,
    });
    const { headers, status } = response;
    const its = await tokens;
    if (status === 200 && headers.get('Content-Type')?.startsWith(accept)) {
      its?.succeed();
      return response;
    }

    const { detail, topic } = await response.json().catch(() => ({}));
    const final = status < 500 && ![200, 404, 408, 425, 429].includes(status);
    const reason = status === 204 ? 'stopped' : final ? 'refused' : 'unavailable';
    const after = Number(headers.get('Retry-After'));
    const wait = after > 0 && 1000 * (after + Math.random());
    const trouble = { reason, status, detail, topic, final, wait };
    throw its?.onRefusal(trouble, used) ?? trouble;
  }

  return {
    bearer,
    address,
    ask,

    /** Gets another token if it is time for it. Reports whether there is another. */
    renew: async () => (await tokens)?.renew(),

    /**
     * The token is good no more. Returns what that means for the next attempt: a cookie may be
     * another by then, a text is the same.
     *
     * @param {string} reason
     */
    expire(reason) {
      tokens?.then(({ expire }) => expire(reason));
      return { soon: true, final: !!token && !tokens };
    },
  };
}
