/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('./connection.js').Audience} Audience */
/** @typedef {import('../outcrier.d.ts').StateChange} StateChange */

/**
 * What one tab tells all: an event that has come, a state, or the like.
 *
 * @typedef {object} News
 * @property {string} kind
 * @property {any} [detail]
 * @property {string} [at] the position of the connection from then on
 * @property {number} tab which tells it
 */

/**
 * What this tab is by itself, by changes.js.
 *
 * @typedef {object} Member
 * @property {() => string[]} topics
 * @property {import('./connection.js').Subscriber['begin']} begin
 * @property {import('./connection.js').Subscriber['tell']} tell
 * @property {(why: Trouble) => void} refuse
 * @property {(why: Trouble) => void} fail
 * @property {(signal: AbortSignal) => void} run
 * @property {() => void} tick
 * @property {(next: Audience) => boolean} ask
 * @property {() => void} wake
 * @property {() => void} restart
 * @property {() => void} leave
 */

/**
 * The tabs of an origin that share a connection. The one that holds the lock of the area
 * leads: it has the connection, and tells the others what comes. Each tab holds another
 * lock, whose name says what the tab wants: so the leader knows what all want that are
 * alive.
 *
 * @param {URL} url
 * @param {Member} member
 * @param {import('../outcrier.d.ts').Options} options
 */
export function tabs(url, member, { share, types = [], heartbeat = 15_000 }) {
  const area = JSON.stringify(['outcrier', share, url, types]);
  const { topics, begin } = member;
  const tab = Math.random();
  const channel = new BroadcastChannel(area);
  let id = 0; // of the tab with what it wants at present
  let changes = Promise.resolve(); // of what this tab wants
  let unwant = () => {}; // releases the lock that says so
  let candidacy = new AbortController();

  // What all tabs know of the connection.
  /** @type {Audience & {tabs: number[]}} */
  let audience = { tabs: [], topics: [] }; // whom it serves, or will by the answers to come
  let isMember = false; // this tab knows of it
  /** @type {StateChange | undefined} */
  let told;
  let leader = 0;
  let leads = false;
  let heard = 0;
  let stale = false; // the leader has fallen silent
  /** @type {Map<string, Trouble>} */
  const refused = new Map(); // topics that are refused
  /** @type {AbortSignal} */
  let session;

  /** @param {string} kind @param {any} [detail] @param {string} [at] */
  function tell(kind, detail, at) {
    const news = { kind, detail, at, tab };
    channel.postMessage(news);
    hear(news);
  }

  /** @param {News} news */
  function hear({ kind, detail, at, tab: from }) {
    if (session.aborted) return;
    const ours = from === tab;
    if (!ours) heard = Date.now(); // also from one that has not joined yet
    if (kind === 'join' && (isMember || detail.tabs.includes(id))) {
      member.wake();
      isMember = true;
      leader = from;
      if (!ours) audience = { tabs: detail.tabs, topics: detail.topics };
      ({ told, heartbeat = heartbeat } = detail);
      member.tell('join', { ...detail, ours, serves: () => detail.tabs.includes(id) }, at);
      if (told) show(told);
    } else if (from !== leader || (!isMember && !leads)) return; // also of one who led before
    else if (kind === 'state') show((told = detail));
    else if (kind === 'refused') member.refuse(detail);
    else if (kind === 'alone') member.leave();
    else if (kind !== 'join' && kind !== 'beat') member.tell(kind, detail, at);
  }

  /** @param {StateChange} state */
  function show(state) {
    member.tell('state', leads ? state : { ...state, via: 'tab' });
  }

  /**
   * Returns what releases the lock, as the end of the session does; nothing if the lock
   * can't be had.
   *
   * @param {string} name @param {LockOptions} how
   * @returns {Promise<(() => void) | undefined>}
   */
  function hold(name, how) {
    return new Promise((resolve) => {
      /** @param {Lock | null} lock */
      const held = (lock) =>
        new Promise((/** @type {(none?: any) => void} */ release) => {
          if (!lock || session.aborted) {
            release();
            return resolve(undefined);
          }
          session.addEventListener('abort', release);
          resolve(release);
        });
      navigator.locks.request(name, how, held).catch(() => {
        resolve(undefined);
        if (leads && !session.aborted) member.restart(); // another tab has taken the lead
      });
    });
  }

  /** Holds the lock that says what this tab wants. */
  function want() {
    id = Math.random();
    const name = area + JSON.stringify({ id, topics: topics() });
    changes = changes.then(async () => {
      if (session.aborted) return;
      const before = unwant;
      unwant = (await hold(name, {})) ?? before;
      before();
      if (!session.aborted) channel.postMessage({});
    });
  }

  async function elect() {
    await navigator.locks.query(); // fails where locks are forbidden
    channel.onmessage = ({ data }) => (data.kind ? hear(data) : leads && check(true));
    await changes;
    for (let ours; !ours && !session.aborted; ) {
      candidacy = new AbortController();
      // A tab that does not know where to go on leads only if it is alone.
      const asMember = isMember;
      ours = await hold(area, !asMember ? { ifAvailable: true } : stale ? { steal: true } : { signal: candidacy.signal });
      if (ours || asMember || session.aborted) continue;
      channel.postMessage({});
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    if (session.aborted) return;
    leads = true;
    leader = tab;
    member.run(session);
  }

  /** What the tabs want, without what is refused. @param {boolean} [alone] only what this one does */
  async function together(alone) {
    let all = [{ id, topics: topics() }];
    if (!alone) {
      const { held = [] } = await navigator.locks.query();
      all = held.flatMap(({ name = '' }) => (name.startsWith(`${area}{`) ? JSON.parse(name.slice(area.length)) : []));
    }
    const wanted = new Set(all.flatMap((one) => one.topics));
    for (const [topic, why] of refused) {
      if (wanted.delete(topic)) tell('refused', why);
      else refused.delete(topic); // whoever adds it anew is given another chance
    }
    return { tabs: all.map((one) => one.id).sort(), topics: [...wanted] };
  }

  /**
   * Sees whether the tabs or what they want have changed, and lets those know who ask.
   *
   * @param {boolean} [answer]
   */
  async function check(answer) {
    const next = await together();
    if (session.aborted || (!answer && next.tabs.join() === audience.tabs.join())) return;
    if (member.ask(next)) audience = next;
  }

  return {
    async wants() {
      // The first connection begins where this tab does, the others join later.
      audience = await together(!audience.tabs[0]);
      return audience;
    },
    /** @param {string} kind @param {any} [detail] @param {string} [at] */
    tell(kind, detail, at) {
      tell(kind, kind === 'join' ? { ...detail, since: begin().last_event_id, told } : detail, at);
    },
    beat() { tell('beat'); },
    check,
    /** @param {Trouble} why */
    refuse(why) {
      refused.set(/** @type {string} */ (why.topic), why);
      tell('refused', why);
    },
    /** @param {Trouble} why */
    fail(why) {
      // It may be that only what another tab wants is refused.
      if (audience.tabs[1]) tell('alone');
      else member.fail(why);
    },

    /** @param {AbortSignal} signal */
    run(signal) {
      session = signal;
      signal.addEventListener('abort', () => {
        leads = false;
        candidacy.abort();
        unwant();
        channel.postMessage({});
        channel.close();
      });
      want();
      elect().catch(member.leave); // locks are forbidden here
    },

    tick() {
      if (leads) member.tick();
      else if (isMember && Date.now() - heard > 3 * heartbeat) {
        stale = true;
        candidacy.abort();
      }
    },

    /** This tab wants other topics. */
    changed() {
      for (const topic of topics()) refused.delete(topic); // it is added anew
      want();
      changes.then(() => { if (leads) check(); });
    },
  };
}
