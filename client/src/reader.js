import { connection } from './connection.js';
import { tabs } from './tabs.js';
import { covers } from './topics.js';

/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('./tabs.js').News} News */
/** @typedef {import('../outcrier.d.ts').OutcrierEvent} Event */
/** @typedef {import('../outcrier.d.ts').StateChange} StateChange */
/** @typedef {Record<string, string | undefined>} Query */

/**
 * What this tab wants, where it stands, and what it is given: each event once.
 *
 * @param {object} page
 * @param {string[]} page.topics
 * @param {string} [page.from] where to begin without a position
 * @param {string} [page.area] of the tabs that share the connection
 * @param {ReturnType<typeof import('./memory.js').memory>} page.kept
 * @param {ReturnType<typeof import('./requests.js').requests>} page.asking
 * @param {(type: string, event: unknown) => void} page.emit
 * @param {(next: Partial<StateChange>) => void} page.turn
 * @param {(why: Partial<StateChange>) => void} page.close
 * @param {import('../outcrier.d.ts').Options} page.options
 */
export function reader({ topics, from: start, area, kept, asking, emit, turn, close, options }) {
  let wanted = topics;
  /** @type {string[]} */
  let active = []; // the topics of which events are given
  /** @type {[topics: string[], from: string][]} */
  const added = []; // topics that are not joined yet, with a start of their own
  /** @type {string[]} */
  let joining = []; // topics that are given when the connection is live
  /** @type {string | undefined} */
  let position;
  /** @type {Set<string>} */
  const seen = new Set(); // ids of the newest events given
  /** @type {News[] | undefined} */
  let queue; // what comes while the past is recovered
  let session = new AbortController(); // from open to end
  let wakePast = () => {};

  // What all tabs know of the connection.
  /** @type {string | undefined} */
  let head; // its position
  let isLive = false;
  let isMember = false; // this tab knows of it
  /** @type {import('./tabs.js').Crowd} */
  let crowd = { tabs: [], topics: [] }; // whom it serves
  /** @type {StateChange | undefined} */
  let told;
  /** @type {number | undefined} */
  let leader;
  let heard = 0;
  let { heartbeat = 15_000 } = options;
  /** @type {ReturnType<typeof setInterval>} */
  let ticks;

  // What only the leader knows.
  /** @type {import('./tabs.js').Crowd[]} */
  let changing = []; // whom it will serve, by the answers to come
  /** @type {Map<string, Trouble>} */
  const barred = new Map(); // topics that are refused

  const us = tabs(area, {
    topics: () => wanted,
    isMember: () => isMember,
    lead(signal) {
      leader = us.tab;
      line.run(signal);
    },
    take,
    check: () => check(true),
    deposed() {
      end();
      open();
    },
  });

  const line = connection(options, asking, {
    begin: () => ({ last_event_id: head, from: start }),
    async topics() {
      // The first connection begins where this tab does, the others join later.
      crowd = await allowed(!crowd.tabs[0]);
      changing = [];
      isLive = false;
      return crowd.topics;
    },
    join,
    moved: (at) => join(at, undefined, changing.shift()),
    tell,
    check,
    refuse(why) {
      const topic = /** @type {string} */ (why.topic);
      if (![crowd, ...changing].some(({ topics }) => topics.includes(topic))) return false;
      barred.set(topic, why);
      tell('refused', why);
      return true;
    },
    fail(trouble) {
      // It may be that only what another tab wants is refused.
      if (crowd.tabs[1]) tell('alone');
      else close(trouble);
    },
  });

  // --- What the page goes through

  function open() {
    session = new AbortController();
    position ??= kept.load(wanted);
    head = position;
    active = (position ?? start) ? wanted.filter((topic) => !added.some(([topics]) => topics.includes(topic))) : [];
    queue = undefined;
    isMember = false;
    crowd = { tabs: [], topics: [] };
    ticks = setInterval(tick, 1000);
    us.open();
  }

  function end() {
    clearInterval(ticks);
    session.abort();
    wakePast();
    us.end();
    kept.save();
  }

  function tick() {
    if (us.leads) line.tick();
    else if (isMember && Date.now() - heard > 3 * heartbeat) us.impeach();
  }

  function wake() {
    line.wake();
    wakePast();
  }

  // --- From tab to tab

  /** @param {string} kind @param {any} [detail] @param {string} [at] */
  function tell(kind, detail, at) {
    us.tell({ kind, detail, at, tab: us.tab });
  }

  /**
   * Says that the connection is for these tabs from a position on, and that it goes on
   * for those who stand where it stood, after a gap if there is one.
   *
   * @param {string | undefined} at @param {unknown} [gap]
   */
  function join(at, gap, next = crowd) {
    tell('join', { ...next, since: head, told, heartbeat: line.heartbeat(), isLive, gap }, at);
  }

  /** What the tabs want, without what is refused. @param {boolean} [alone] */
  async function allowed(alone) {
    const all = await us.together(!!alone);
    for (const [topic, why] of barred) {
      if (all.topics.includes(topic)) tell('refused', why);
      else barred.delete(topic); // whoever adds it anew is given another chance
    }
    return { ...all, topics: all.topics.filter((topic) => !barred.has(topic)) };
  }

  /**
   * Sees whether the tabs or what they want have changed, and lets those know who ask.
   * Before a connection is there, that is not the time.
   *
   * @param {boolean} [answer]
   */
  async function check(answer) {
    const next = await allowed();
    if (!us.leads || !line.flows() || !crowd.tabs[0]) return;
    const last = changing.at(-1) ?? crowd;
    const same = next.tabs.join() === last.tabs.join();
    if (same && !answer) return;
    if (!line.change(next.topics)) changing.push(next);
    else if (changing[0]) changing[changing.length - 1] = next;
    else join(head, undefined, next);
  }

  /** @param {News} news */
  function take(news) {
    const { kind, detail, at } = news;
    if (session.signal.aborted) return;
    if (!us.leads) heard = Date.now(); // also from one that has not joined yet
    if (kind === 'join' && (isMember || detail.tabs.includes(us.id))) {
      wakePast();
      isMember = true;
      leader = news.tab;
      crowd = { tabs: detail.tabs, topics: detail.topics };
      ({ told, isLive, heartbeat = heartbeat } = detail);
      head = at;
    } else if (news.tab !== leader || (!isMember && !us.leads)) return; // also of one who led before
    if (at) head = at;
    if (kind === 'state') told = detail;
    if (kind === 'live') isLive = true;
    if (queue) queue.push(news);
    else handle(news);
  }

  /** @param {News} news */
  function handle({ kind, detail, at, tab }) {
    if (kind === 'join') return joined(detail, at, tab === us.tab);
    if (kind === 'alone') {
      end();
      us.part();
      return open();
    }
    if (at) stand(at);
    if (kind === 'event') give(detail);
    if (kind === 'live') activate();
    if (kind === 'state') show(detail);
    if (kind === 'gap') miss(detail);
    if (kind === 'goodbye') emit('outcrier.goodbye', detail);
    if (kind === 'refused') refused(detail);
  }

  /** @param {any} news @param {string | undefined} at @param {boolean} ours */
  function joined(news, at, ours) {
    /** @type {[string[], Query][]} */
    const past = [];
    const where = position ?? start;
    if (at && !ours && where && where !== news.since) past.push([active, { last_event_id: position, from: start }]);
    else if (news.gap && where) miss(news.gap);
    if (session.signal.aborted) return; // a listener has closed the stream
    if (news.tabs.includes(us.id)) {
      if (at) {
        for (const [topics, from] of added.splice(0)) {
          past.push([topics, { from }]);
          active = [...active, ...topics];
        }
      }
      joining = wanted.filter((topic) => !active.includes(topic));
      if (news.isLive || (ours && !news.since)) activate(); // nothing is replayed that is not this tab's
    }
    if (past[0]) return recover(past, /** @type {string} */ (at));
    if (at) stand(at);
    if (news.told) show(news.told);
  }

  // What the connection replays before it is live was there before new topics were.
  function activate() {
    active = [...active, ...joining];
    joining = [];
  }

  /**
   * Gives what the connection does not bring this tab: all until it joined.
   *
   * @param {[string[], Query][]} past @param {string} until
   */
  async function recover(past, until) {
    const { signal } = session;
    queue = [];
    turn({ state: 'replaying' });
    for (let [topics, query] of past) {
      for (let failed = 0; topics[0] && query.last_event_id !== until && !signal.aborted; ) {
        try {
          const { events, position: at, gap } = await asking.page(topics, { ...query, until }, AbortSignal.timeout(30_000));
          if (signal.aborted) return;
          if (gap) miss(gap);
          for (const event of events) if (!signal.aborted) give(event);
          query = { last_event_id: at };
          failed = 0;
        } catch (error) {
          const trouble = /** @type {Trouble} */ (error);
          if (trouble.final) {
            miss(trouble);
            break;
          }
          await new Promise((resolve) => {
            wakePast = () => resolve(0);
            setTimeout(wakePast, Math.random() * Math.min(30_000, 1000 * 2 ** failed++));
          });
        }
      }
    }
    if (signal.aborted) return;
    const waiting = queue;
    queue = undefined;
    stand(until);
    if (told) show(told);
    while (waiting[0] && !queue && !signal.aborted) handle(/** @type {News} */ (waiting.shift()));
    /** @type {News[] | undefined} */ (queue)?.push(...waiting);
  }

  // --- To the page

  /** @param {string} at */
  function stand(at) {
    position = at;
    start = undefined;
    kept.keep(at);
  }

  /** @param {Event} event */
  function give(event) {
    if (!active.some((topic) => covers(topic, event.topic)) || seen.has(event.id)) return;
    seen.add(event.id);
    const [oldest] = seen;
    if (seen.size > 2048) seen.delete(oldest);
    emit(event.type, event);
  }

  /** @param {unknown} gap */
  function miss(gap) {
    seen.clear(); // in another history the ids are others'
    emit('outcrier.gap', gap);
  }

  /** @param {StateChange} state */
  function show(state) {
    turn(us.leads ? state : { ...state, via: 'tab' });
  }

  /** @param {{topic: string, status?: number, detail?: string}} why */
  function refused({ topic, status, detail }) {
    if (!wanted.includes(topic)) return;
    drop([topic]);
    emit('outcrier.refused', { topic, status, detail });
    // What was added does not end the stream.
    if (!wanted[0] && topics.includes(topic)) close({ reason: 'refused', status, detail });
  }

  // --- What the page asks for

  /** @param {string[]} topics @param {string} [from] */
  function add(topics, from) {
    const fresh = topics.filter((topic) => !wanted.includes(topic));
    if (!fresh[0]) return;
    for (const topic of fresh) barred.delete(topic);
    wanted = [...wanted, ...fresh];
    const last = kept.load(wanted);
    if (last && !position) {
      position = last; // of the first topics that the page names
      head ??= last;
      active = wanted;
    } else if (from) added.push([fresh, from]);
    us.change();
  }

  /** @param {string[]} topics */
  function drop(topics) {
    /** @param {string} topic */
    const keep = (topic) => !topics.includes(topic);
    if (wanted.every(keep)) return;
    wanted = wanted.filter(keep);
    active = active.filter(keep);
    joining = joining.filter(keep);
    for (const past of added) past[0] = past[0].filter(keep);
    us.change();
  }

  return { open, end, wake, online: line.online, add, drop, get position() { return position; } };
}
