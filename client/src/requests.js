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
  /** @type {number | undefined} */
  let renewal; // when to ask for another
  /** @type {Trouble | undefined} */
  let refused; // why it is not good
  let renewed = false; // it was got because another one was refused

  /** Gets a token, which is another than the one refused. Reports whether it is another. */
  async function authorize() {
    renewal = undefined;
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
    try {
      const claims = atob(jwt.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
      const { exp, iat = 0 } = JSON.parse(claims);
      const life = 1000 * (exp - iat);
      let left = 1000 * exp - Date.now();
      // The clock is wrong: the token is taken for new, or without iat for everlasting.
      if (left < 0 || left > life) left = life;
      renewal = Date.now() + Math.max(left / 2, left - 30_000, Math.min(life / 2, 10_000));
    } catch {
      // Not a JWT: the server says when it is over.
    }
    return true;
  }

  const isDue = () => Date.now() > /** @type {number} */ (renewal);

  const self = {
    authorize,
    isDue,

    async token() {
      if (jwt === undefined || refused || isDue()) await authorize();
      return jwt;
    },

    /** @param {string} reason why the token is good no more */
    refuse(reason) {
      if (jwt) refused = { reason, final: true };
    },

    /**
     * @param {string[]} topics
     * @param {Record<string, string | undefined>} query
     */
    address(topics, query) {
      const target = new URL(url);
      for (const topic of topics) target.searchParams.append('topic', topic);
      for (const type of types) target.searchParams.append('type', type);
      for (const name in query) if (query[name]) target.searchParams.set(name, query[name]);
      return target;
    },

    /**
     * Asks, and returns the answer if it is of the type wanted. Throws Trouble.
     *
     * @param {string[]} topics
     * @param {Record<string, string | undefined>} query
     * @param {string} accept
     * @param {AbortSignal} signal
     * @param {() => void} [sent] is called when there is a token, and the request leaves
     */
    async ask(topics, query, accept, signal, sent) {
      const used = await self.token();
      sent?.();
      /** @type {Record<string, string>} */
      const headers = { Accept: accept };
      if (used) headers.Authorization = `Bearer ${used}`;
      const response = await fetch(self.address(topics, query), { headers, signal, credentials });
      const { status } = response;
      if (status === 200 && response.headers.get('Content-Type')?.startsWith(accept)) {
        renewed = false;
        return response;
      }

      const { detail, topic } = await response.json().catch(() => ({}));
      const denied = status === 401 || status === 403;
      const final = status < 500 && ![200, 404, 408, 425, 429].includes(status);
      const reason = status === 204 ? 'stopped' : final ? 'refused' : 'unavailable';
      const after = Number(response.headers.get('Retry-After'));
      const wait = after > 0 ? 1000 * (after + Math.random()) : undefined;
      const trouble = { reason, status, detail, topic, final, wait };
      // Another token may be granted the topic; but if it is not, one is enough.
      if (!denied || (topic && (renewed || typeof token !== 'function'))) throw trouble;
      if (used === jwt) refused = trouble;
      throw { ...trouble, final: false, soon: true };
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
    async page(topics, query, signal, sent) {
      return (await self.ask(topics, query, 'application/json', signal, sent)).json();
    },
  };
  return self;
}
