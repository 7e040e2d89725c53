/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {string | null | undefined} Token */

/**
 * When to ask for another token, in ms as Date.now has them: before it expires, if it is a
 * JWT. Of any other the server says when it is over.
 *
 * @param {string} token
 */
function renewal(token) {
  try {
    const { exp, iat = 0 } = JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
    const life = 1000 * (exp - iat);
    let left = 1000 * exp - Date.now();
    // The clock is wrong: the token is taken for new, or without iat for everlasting.
    if (left < 0 || left > life) left = life;
    return Date.now() + Math.max(left / 2, left - 30_000, Math.min(life / 2, 10_000));
  } catch {
    return Infinity;
  }
}

/**
 * The tokens that a function returns, each until it is refused or about to expire.
 *
 * @param {() => Token | Promise<Token>} give
 * @param {Token} first
 */
export function tokens(give, first) {
  let token = first ?? '';
  let due = renewal(token); // when to ask for another
  /** @type {Trouble | undefined} */
  let refused; // why it is not good
  let renewed = false; // it was got because another one was refused

  /** Gets a token, which is another than the one refused. Reports whether it is another. */
  async function authorize() {
    due = Infinity;
    const next = (await give()) ?? '';
    const why = refused;
    if (next === token) {
      if (why?.topic) refused = undefined; // it is good for the others
      if (why) throw why;
      return false;
    }
    token = next;
    due = renewal(token);
    renewed = !!why;
    refused = undefined;
    return true;
  }

  const isDue = () => Date.now() > due;

  return {
    async current() {
      if (refused || isDue()) await authorize();
      return token;
    },

    renew: async () => isDue() && authorize(),

    /** A request with the token was answered. */
    succeed() { renewed = false; },

    /**
     * A request was refused. Returns what that means for the next attempt: another token may
     * be granted the topic; but if it is not, one is enough.
     *
     * @param {Trouble} trouble
     * @param {Token} used
     */
    onRefusal(trouble, used) {
      const { status, topic } = trouble;
      if ((status !== 401 && status !== 403) || (topic && renewed)) return trouble;
      if (used === token) refused = trouble;
      return { ...trouble, final: false, soon: true };
    },

    /** @param {string} reason why the token is good no more */
    expire(reason) {
      if (token) refused = { reason, final: true };
    },
  };
}
