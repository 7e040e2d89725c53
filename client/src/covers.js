/**
 * Reports whether a topic is one of a pattern's: "*" stands for one segment, a final
 * "**" for the rest, which may be empty.
 *
 * @param {string} pattern
 * @param {string} topic
 */
export function covers(pattern, topic) {
  const want = pattern.split('/');
  const have = topic.split('/');
  const rest = want.at(-1) === '**' && want.pop();
  return want.every((segment, i) => segment === have[i] || (segment === '*' && i in have)) && (rest || !have[want.length]);
}
