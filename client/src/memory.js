/**
 * Keeps a position across page loads: in the storage of this tab, which a reload keeps,
 * and in that of all tabs, for a new one. Either may be forbidden, full, or not there.
 *
 * A position holds for what was followed. So it is kept under the address, the types and
 * the topics, which are those that the page names first.
 *
 * @param {URL} url
 * @param {import('../outcrier.d.ts').Options} options
 */
export function memory({ origin, pathname }, { remember, types = [] }) {
  /** @type {string | undefined} */
  let item;
  /** @type {string | undefined} */
  let unsaved;

  /** @param {(storage: Storage) => void} use */
  function each(use) {
    for (const where of /** @type {const} */ (['localStorage', 'sessionStorage'])) {
      try {
        use(globalThis[where]);
      } catch {}
    }
  }

  function save() {
    const position = unsaved;
    unsaved = undefined;
    if (item && position) each((storage) => storage.setItem(/** @type {string} */ (item), position));
  }

  return {
    /**
     * Returns the position that was kept for these topics.
     *
     * @param {string[]} topics
     */
    load(topics) {
      /** @type {string | undefined} */
      let position;
      if (!item && topics[0]) {
        const key = (item = `outcrier:${remember}:${JSON.stringify([origin + pathname, [...types].sort(), [...topics].sort()])}`);
        each((storage) => { position = storage.getItem(key) ?? position; });
      }
      return position;
    },
    /**
     * Keeps a position: once a turn, however many events come in it.
     *
     * @param {string} position
     */
    keep(position) {
      if (item && !unsaved) setTimeout(save);
      unsaved = position;
    },
    save,
  };
}
