import { covers } from './covers.js';

/** @typedef {import('./requests.js').Trouble} Trouble */
/** @typedef {import('./connection.js').Audience} Audience */
/** @typedef {import('../outcrier.d.ts').StateChange} StateChange */
/** @typedef {Record<string, string | undefined>} Query */
/** @typedef {[kind: string, detail?: any, at?: string]} News */
/** @typedef {{add: (topics: string[], from?: string) => void, drop: (topics: string[]) => void, refuse: (why: Trouble) => void}} Changing */
/** @typedef {(it: Changing) => void} Change */

/**
 * That a connection goes on from its position: where it was before, whether this tab has it,
 * and whether it is for what this tab wants now.
 *
 * @typedef {{topics: string[], gap?: unknown, since?: string, isLive: boolean, ours: boolean, serves: () => boolean}} Join
 */

/**
 * Has a connection ask for the topics of others, or for others. Reports whether there is a
 * connection; if not, the next attempt asks.
 *
 * @param {ReturnType<typeof import('./connection.js').connection>} line
 * @param {Audience} next
 */
function ask({ link, flows, stop }, next) {
  if (!flows()) return false;
  const { asked } = link;
  const add = next.topics.filter((topic) => !asked.topics.includes(topic));
  const drop = asked.topics.filter((topic) => !next.topics.includes(topic));
  link.asked = next;
  if (link.alter && next.topics[0]) link.alter(add, drop, next);
  else if (add[0] || drop[0]) stop();
  else link.arrive(link.subscriber.begin().last_event_id);
  return true;
}

/**
 * What takes a reader over whose topics change, or whose tab shares a connection.
 *
 * @param {ReturnType<typeof import('./reader.js').reader>} self
 * @param {URL} url
 * @param {import('../outcrier.d.ts').Options} options
 * @param {typeof import('./tabs.js') | false | '' | undefined} sharing
 * @param {Change[]} waiting the changes until now
 * @param {News[]} missed what has come since the first of them
 */
export function changes(self, url, options, sharing, waiting, missed) {
  const { emit, fail, reportGap, pause, requests, restart, advance, take, turn } = self;
  const first = self.topics;
  // Of each topic, whether its events are given: true; false until the connection, which has
  // it, is live; or the connection does not have it yet, which is to begin from there.
  /** @type {Map<string, boolean | string | undefined>} */
  const wants = new Map(self.topics.map((topic) => [topic, undefined]));
  /** @type {string | undefined} */
  let head; // the connection's position, which goes ahead while the past is recovered
  /** @type {News[] | undefined} */
  let queue; // what comes meanwhile
  /** @type {import('./outcrier.js').Change | undefined} */
  let told; // the connection's

  const alone = {
    begin: () => ({ last_event_id: head, from: self.start }),
    wants: async () => ({ topics: self.topics }),
    check() { ask(self.line, { topics: self.topics }); },
    changed: () => queueMicrotask(alone.check),
    tell,
    beat: undefined,
    add,
    drop,
    renew,
    refuse,
    run: self.run,
    tick: self.tick,
    fail,
  };
  /** @type {{changed: () => void}} */
  let us = alone; // or with other tabs

  function renew() {
    begin();
    us = sharing ? sharing.tabs(url, { ...alone, topics: () => self.topics, ask: (next) => ask(self.line, next), wake: pause.wake, restart, leave }, options) : alone;
    Object.assign(self, alone, us);
  }

  function begin() {
    head = self.position;
    queue = undefined;
    for (const [topic, how] of wants) if (typeof how !== 'string') wants.set(topic, !!(self.position ?? self.start) || undefined);
  }

  /** Goes on without the other tabs. */
  function leave() {
    sharing = false;
    restart();
  }

  // --- From the connection

  /** @param {string} kind @param {any} [detail] @param {string} [at] */
  function tell(kind, detail, at) {
    if (self.isOver) return;
    const news = kind === 'join' ? { since: head, ours: true, serves: () => detail.topics === self.topics, ...detail } : detail;
    if (at) head = at;
    if (kind === 'state') told = detail;
    if (queue) queue.push([kind, news, at]);
    else handle(kind, news, at);
  }

  /** @param {string} kind @param {any} detail @param {string} [at] */
  function handle(kind, detail, at) {
    if (kind === 'join') return joined(detail, at);
    if (kind === 'live') activate();
    if (kind !== 'event' || isWanted(detail.topic)) take(kind, detail, at);
    else if (at) advance(at);
  }

  /** @param {string} topic */
  const isWanted = (topic) => self.topics.some((pattern) => wants.get(pattern) === true && covers(pattern, topic));

  /** @param {Join} news @param {string} [at] */
  function joined({ topics, gap, since, isLive, ours, serves }, at) {
    /** @type {[string[], Query][]} */
    const past = [];
    const where = self.position ?? self.start;
    if (at && !ours && where && where !== since) {
      past.push([self.topics.filter((topic) => wants.get(topic) === true), { last_event_id: self.position, from: self.start }]);
    } else if (gap && where) reportGap(gap);
    if (self.isOver) return; // a listener has closed the stream
    // What the connection asked for without a position begins with it, whatever is wanted by now.
    if (ours && !since) for (const topic of topics) if (wants.has(topic)) wants.set(topic, wants.get(topic) ?? true);
    if (serves()) {
      /** @type {Record<string, string[]>} */
      const starts = {};
      for (const [topic, how] of wants) {
        if (typeof how !== 'string') wants.set(topic, how ?? false);
        else if (at) {
          (starts[how] ??= []).push(topic);
          wants.set(topic, true);
        }
      }
      for (const from in starts) past.push([starts[from], { from }]);
      if (isLive || (ours && !since)) activate(); // nothing is replayed that is not this tab's
    }
    if (isLive) told ??= { state: 'live' }; // it became so before this was there
    if (past[0]) recover(past, /** @type {string} */ (at));
    else if (at) advance(at);
  }

  // What the connection replays before it is live was there before new topics were.
  function activate() {
    for (const [topic, how] of wants) if (how === false) wants.set(topic, true);
  }

  /**
   * Gives what the connection does not bring this tab: all until it joined.
   *
   * @param {[string[], Query][]} past @param {string} until
   */
  async function recover(past, until) {
    /** @type {NonNullable<typeof queue>} */
    const waiting = [];
    queue = waiting;
    // A session that is over has another queue, or none.
    const isOver = () => self.isOver || queue !== waiting;
    turn({ state: 'replaying' });
    for (let [topics, query] of past) {
      for (let failures = 0; topics[0] && query.last_event_id !== until && !isOver(); ) {
        try {
          const answer = await requests.ask(topics, { ...query, until }, 'application/json', AbortSignal.timeout(30_000));
          /** @type {import('./requests.js').Page} */
          const { events, position: at, gap } = await answer.json();
          if (isOver()) return;
          if (gap) reportGap(gap);
          for (const event of events) if (!isOver() && isWanted(event.topic)) self.deliver(event);
          query = { last_event_id: at };
          failures = 0;
        } catch (error) {
          const trouble = /** @type {Trouble} */ (error);
          if (trouble.final) {
            reportGap(trouble);
            break;
          }
          await pause.sleep(pause.backoff(failures++));
        }
      }
    }
    if (isOver()) return;
    queue = undefined;
    advance(until);
    if (told) turn(told);
    while (waiting[0] && !queue && !self.isOver) handle(.../** @type {[string, any, string?]} */ (waiting.shift()));
    /** @type {typeof waiting | undefined} */ (queue)?.push(...waiting);
  }

  // --- From the page

  function change() {
    self.topics = [...wants.keys()];
    us.changed();
  }

  /** @param {string[]} topics @param {string} [from] */
  function add(topics, from) {
    if (from === 'now') from = undefined;
    const fresh = topics.filter((topic) => !wants.has(topic));
    if (!fresh[0]) return;
    for (const topic of fresh) wants.set(topic, from);
    const last = self.kept?.load([...wants.keys()]);
    if (last && !self.position) {
      self.position = last; // of the first topics that the page names
      head ??= last;
      for (const topic of wants.keys()) wants.set(topic, true);
    }
    change();
  }

  /** Reports whether one of them was wanted. @param {string[]} topics */
  function drop(topics) {
    const had = wants.size;
    for (const topic of topics) wants.delete(topic);
    if (had === wants.size) return false;
    change();
    return true;
  }

  /** @param {Trouble} why */
  function refuse({ topic = '', status, detail }) {
    if (!drop([topic])) return;
    emit('outcrier.refused', { topic, status, detail });
    // The stream ends only if no topic is left after the changes that wait, and after those
    // that a listener of outcrier.refused makes.
    if (first.includes(topic)) queueMicrotask(() => self.topics[0] || fail({ reason: 'refused', status, detail }));
  }

  begin();
  Object.assign(self, alone);
  for (const change of waiting) change(alone);
  if (sharing) restart();
  else for (const news of missed) tell(...news);
}
