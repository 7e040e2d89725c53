/** @typedef {(event: any) => void} Listener */

/** The page's listeners, and the methods that add and remove them. */
export function listeners() {
  /** @type {[pattern: string, listener: Listener][]} */
  let all = [];

  /** @param {string} type @param {Listener} listener */
  function on(type, listener) {
    all = [...all, [type, listener]];
    return () => off(type, listener);
  }

  /** @param {string} type @param {Listener} [listener] */
  function off(type, listener) {
    all = all.filter(([pattern, other]) => pattern !== type || (listener ?? other) !== other);
  }

  return {
    /**
     * Calls the listeners of a type in the order in which they came.
     *
     * @param {string} type @param {unknown} event
     */
    emit(type, event) {
      for (const [pattern, listener] of all) {
        const fits = pattern.endsWith('*') && type.startsWith(pattern.slice(0, -1)) && !type.startsWith('outcrier.');
        try {
          if (fits || pattern === type) listener(event);
        } catch (error) {
          // The page's own error: it is reported as any other, and stops nothing here.
          queueMicrotask(() => { throw error; });
        }
      }
    },
    methods: {
      on,
      off,
      /** @param {string} type @param {Listener} listener */
      once(type, listener) {
        const never = on(type, (event) => {
          never();
          listener(event);
        });
        return never;
      },
      clear() { all = []; },
    },
  };
}
