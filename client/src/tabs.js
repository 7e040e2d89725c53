/**
 * What one tab tells all: an event that has come, a state, or the like.
 *
 * @typedef {object} News
 * @property {string} kind
 * @property {any} [detail]
 * @property {string} [at] the position of the connection from then on
 * @property {number} [tab] which tells it
 */

/**
 * The tabs that a connection is for: which, and the topics of all of them.
 *
 * @typedef {{tabs: number[], topics: string[]}} Crowd
 */

/**
 * @typedef {object} Member
 * @property {() => string[]} topics what this tab wants
 * @property {(signal: AbortSignal) => void} lead it is this tab's to have the connection
 * @property {(news: News) => void} take
 * @property {() => void} check another tab has come or gone, or wants something else
 * @property {() => void} deposed another tab has taken the lead
 * @property {() => boolean} isMember it knows where the connection stands
 */

/**
 * The tabs of an origin that share a connection. The one that holds the lock of the area
 * leads: it has the connection, and tells the others what comes. Each tab holds another
 * lock, whose name says what the tab wants: so the leader knows what all want that are
 * alive. Without an area the tab is alone.
 *
 * @param {string | undefined} area
 * @param {Member} member
 */
export function tabs(area, member) {
  const tab = Math.random();
  let id = 0; // of the tab with what it wants at present
  let leads = false;
  let stale = false; // the leader has fallen silent
  /** @type {BroadcastChannel | undefined} */
  let channel;
  /** @type {AbortController | undefined} */
  let session;
  let candidacy = new AbortController();
  let changes = Promise.resolve(); // of what this tab wants
  let unwant = () => {}; // releases the lock that says so

  /** @param {AbortSignal} signal */
  function lead(signal) {
    leads = true;
    stale = false;
    member.lead(signal);
  }

  /** @param {string} name @param {AbortSignal} signal */
  async function elect(name, signal) {
    await navigator.locks.query(); // fails where locks are forbidden
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => (data.kind ? member.take(data) : leads && member.check());
    await changes;
    for (let ours; !ours && !signal.aborted; ) {
      candidacy = new AbortController();
      // A tab that does not know where to go on leads only if it is alone.
      const isMember = member.isMember();
      ours = await hold(name, !isMember ? { ifAvailable: true } : stale ? { steal: true } : { signal: candidacy.signal }, signal);
      if (ours || isMember) continue;
      channel?.postMessage({});
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    if (!signal.aborted) lead(signal);
  }

  /**
   * Returns what releases the lock, as the end of the session does; nothing if the lock
   * can't be had.
   *
   * @param {string} name @param {LockOptions} how @param {AbortSignal} signal
   * @returns {Promise<(() => void) | undefined>}
   */
  function hold(name, how, signal) {
    return new Promise((resolve) => {
      /** @param {Lock | null} lock */
      const held = (lock) =>
        new Promise((/** @type {(none?: any) => void} */ release) => {
          if (!lock || signal.aborted) {
            release();
            return resolve(undefined);
          }
          signal.addEventListener('abort', release);
          resolve(release);
        });
      navigator.locks.request(name, how, held).catch(() => {
        resolve(undefined);
        if (leads && !signal.aborted) member.deposed();
      });
    });
  }

  function want() {
    id = Math.random();
    if (!area || session?.signal.aborted !== false) return;
    const { signal } = session;
    const name = area + JSON.stringify({ id, topics: member.topics() });
    changes = changes.then(async () => {
      const before = unwant;
      unwant = (await hold(name, {}, signal)) ?? before;
      before();
      channel?.postMessage({});
    });
  }

  return {
    tab,
    get id() { return id; },
    get leads() { return leads; },

    open() {
      session = new AbortController();
      want();
      const { signal } = session;
      if (!area) return lead(signal);
      elect(area, signal).catch(() => {
        area = undefined; // locks are forbidden here
        lead(signal);
      });
    },

    end() {
      leads = false;
      session?.abort();
      candidacy.abort();
      unwant();
      channel?.postMessage({});
      channel?.close();
      channel = undefined;
    },

    /** Goes on without the others. */
    part() { area = undefined; },

    /** This tab wants other topics. */
    change() {
      want();
      changes.then(() => leads && member.check());
    },

    /** The leader has not been heard of for too long. */
    impeach() {
      stale = true;
      candidacy.abort();
    },

    /** @param {News} news */
    tell(news) {
      channel?.postMessage(news);
      member.take(news);
    },

    /**
     * Who the tabs are and what they want; alone, what this one does.
     *
     * @param {boolean} alone
     * @returns {Promise<Crowd>}
     */
    async together(alone) {
      let wants = [{ id, topics: member.topics() }];
      if (area && !alone) {
        const { held = [] } = await navigator.locks.query();
        wants = held.flatMap(({ name = '' }) => (name.startsWith(`${area}{`) ? JSON.parse(name.slice(area?.length)) : []));
      }
      return { tabs: wants.map((one) => one.id).sort(), topics: [...new Set(wants.flatMap((one) => one.topics))] };
    },
  };
}
