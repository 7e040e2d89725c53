/**
 * When to ask for another token, in ms as Date.now has them: before it expires, if it is a
 * JWT. Of any other the server says when it is over.
 *
 * @param {string} token
 */
export function renewal(token) {
  const { exp, iat = 0 } = JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
  const life = 1000 * (exp - iat);
  let left = 1000 * exp - Date.now();
  // The clock is wrong: the token is taken for new, or without iat for everlasting.
  if (left < 0 || left > life) left = life;
  return Date.now() + Math.max(left / 2, left - 30_000, Math.min(life / 2, 10_000));
}
