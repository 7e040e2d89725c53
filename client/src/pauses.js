/**
 * Waits that can be ended early, all at once, and how long to wait after a failure.
 *
 * @param {import('../outcrier.d.ts').Retry} [retry]
 */
export function pauses({ min = 1000, max = 30_000, factor = 2 } = {}) {
  /** @type {((none?: any) => void)[]} */
  let ends = [];
  return {
    longest: max,
    /** @param {number} failures so many, one after the other */
    backoff: (failures) => Math.random() * Math.min(max, min * factor ** failures),
    /** @param {number} ms */
    sleep: (ms) =>
      new Promise((end) => {
        ends.push(end);
        setTimeout(end, ms);
      }),
    wake() {
      for (const end of ends) end();
      ends = [];
    },
  };
}
