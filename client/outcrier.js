// Outcrier's module for browsers: a stream of committed events that loses none and
// gives none twice, whatever networks, proxies, servers and tabs do. Its options and
// events are described in outcrier.d.ts, its behaviour in docs/client.md.
//
// The code reads in the order in which an event travels: asked for (ask), read
// (stream, poll), told to all tabs (tell), taken by each (take), given to the page
// (give). Of the tabs that share a connection one leads: it has the connection, and
// tells the others what comes.

export function connect(
  address,
  { topics = [], types = [], from, token, remember, share, credentials, heartbeat = 15_000, patience = 5_000 } = {},
) {
  const longestPause = 30_000; // ms between two attempts
  const planned = {}; // why an attempt is ended that nothing is wrong with

  const url = new URL(address, location.href);

  // What the page sees.
  let state = 'connecting';
  let via = 'stream';
  let position;
  let listeners = []; // pairs of a type and a function

  // What this tab wants and has.
  let wanted = [topics].flat();
  let active = wanted; // the topics of which events are given
  let start = from === 'now' ? undefined : from; // where to begin without a position
  const added = []; // topics with a start of their own
  const seen = new Set(); // ids of the newest events given
  let queue; // what is told while the past is recovered

  // What all tabs know of the connection.
  let head; // its position
  let tabs = []; // the ids of those that it serves
  let asked; // the topics of all of them
  let told; // its state
  let leader;

  // The connection itself, of the tab that leads.
  let leads;
  let attempt = new AbortController();
  let many; // it is for more than this tab
  let flows; // something has come in this attempt
  let heard; // when the last byte came
  let due; // ms from one byte to the next, at most
  let polling = 'body' in Response.prototype ? 0 : Infinity; // until then
  let failures = 0; // attempts that failed, one after the other
  let retry; // ms, as the server told
  let jwt;
  let renewal; // when to ask for another
  let refused; // why it is not good

  // The tabs of this origin that share it.
  const tab = Math.random();
  let id; // of the tab with what it wants at present
  let area = share && navigator.locks && JSON.stringify(['outcrier', share, url, types]);
  let member; // the leader knows of this tab
  let channel;
  let changes = Promise.resolve(); // of what this tab wants
  let unwant = () => {}; // lets go of the lock that says so
  let candidacy; // for the lead
  let stale; // the leader has fallen silent

  let session; // ends all that runs
  let ticks;
  const page = new AbortController(); // ends what listens to the page
  const sleeps = []; // functions that end them: the connection's, the recovery's

  // --- What the page goes through

  function open() {
    if (state === 'closed') return;
    session = new AbortController();
    head = position;
    queue = member = undefined;
    tabs = [];
    want();
    ticks = setInterval(tick, 1000);
    const { signal } = session;
    if (!area) return lead(signal);
    elect(signal).catch(() => {
      area = undefined; // locks are forbidden here
      lead(signal);
    });
  }

  function end() {
    leads = false;
    clearInterval(ticks);
    for (const part of [session, attempt, candidacy]) part?.abort(planned);
    wake();
    unwant();
    channel?.postMessage({});
    channel?.close();
    channel = undefined;
  }

  // A clock goes on while the machine sleeps: the first tick after it knows.
  function tick() {
    const silent = Date.now() - heard;
    if (!leads) {
      if (!member || silent < 3 * heartbeat) return;
      stale = true;
      return candidacy.abort();
    }
    tell('beat');
    if (silent > due) attempt.abort({ reason: 'silent' });
    else if (Date.now() > renewal) {
      // Without a new one the stream goes on until the server ends it.
      authorize().then((fresh) => fresh && attempt.abort(planned), () => {});
    }
  }

  function sleep(ms, which = 0) {
    return new Promise((resolve) => {
      sleeps[which] = resolve;
      setTimeout(resolve, ms);
    });
  }

  function wake() {
    sleeps.forEach((end) => end());
  }

  // --- Which tab leads

  // The tab that holds the lock of the area leads. Each tab holds another lock, whose
  // name says what the tab wants: so who leads knows what all want that are alive.
  async function elect(signal) {
    await navigator.locks.query();
    channel = new BroadcastChannel(area);
    channel.onmessage = ({ data }) => (data.kind ? take(data) : leads && check(true));
    await changes;
    for (let ours; !ours && !signal.aborted; ) {
      candidacy = new AbortController();
      // Who is no member does not know where to go on, and leads only alone.
      const how = !member ? { ifAvailable: true } : stale ? { steal: true } : { signal: candidacy.signal };
      ours = await hold(area, how, signal);
      if (ours || member) continue;
      channel?.postMessage({});
      await sleep(1000);
    }
    if (!signal.aborted) lead(signal);
  }

  // hold gives a function that lets go of the lock, as the end of the session does;
  // nothing if the lock is not to be had.
  function hold(name, how, signal) {
    return new Promise((resolve) => {
      const held = (lock) =>
        new Promise((release) => {
          if (!lock || signal.aborted) return resolve(release());
          signal.addEventListener('abort', release);
          resolve(release);
        });
      navigator.locks.request(name, how, held).catch(() => {
        resolve();
        if (!leads || signal.aborted) return;
        end(); // another tab has taken the lead
        open();
      });
    });
  }

  function want() {
    id = Math.random();
    if (!area || !session) return;
    const name = area + JSON.stringify({ id, topics: wanted });
    const { signal } = session;
    changes = changes.then(async () => {
      const before = unwant;
      unwant = (await hold(name, {}, signal)) ?? before;
      before();
      channel?.postMessage({});
    });
  }

  function change() {
    want();
    changes.then(() => leads && check());
  }

  // together is who the tabs are and what they want; alone, what this one does.
  async function together(alone) {
    let wants = [{ id, topics: wanted }];
    if (area && !alone) {
      const { held } = await navigator.locks.query();
      wants = held.flatMap(({ name }) => (name.startsWith(area + '{') ? JSON.parse(name.slice(area.length)) : []));
    }
    return { tabs: wants.map((one) => one.id).sort(), asked: [...new Set(wants.flatMap((one) => one.topics))] };
  }

  // check begins anew if the tabs or what they want have changed; else it lets those
  // know who ask. Before a connection is there, that is not the time.
  async function check(answer) {
    const next = await together();
    if (!leads || !flows || !tabs[0]) return;
    if (next.tabs.join() !== tabs.join()) {
      attempt.abort(planned);
      wake();
    } else if (answer) join(next, head);
  }

  // --- The connection

  async function lead(signal) {
    leads = true;
    leader = tab;
    stale = false;
    while (!signal.aborted) {
      attempt = new AbortController();
      flows = false;
      try {
        await attend(attempt.signal);
      } catch (error) {
        const trouble = attempt.signal.reason ?? error;
        attempt.abort(planned);
        due = undefined;
        if (trouble !== planned && !signal.aborted) await suffer(trouble);
      }
    }
  }

  async function attend(signal) {
    // The first connection begins where this tab does, others join later.
    const next = await together(!tabs[0]);
    many = next.tabs[1];
    if (tabs[0] && head && next.tabs.join() !== tabs.join()) {
      // What was wanted so far is brought up to now, where the new begins.
      await catchUp(asked, 0, signal);
    }
    say(next.asked[0] ? 'connecting' : 'idle');
    if (next.asked[0]) return (Date.now() < polling ? poll : stream)(next, signal);
    flows = true;
    join(next);
    await sleep(longestPause);
  }

  async function suffer({ reason = 'unreachable', final, status, message, detail = message, soon, wait }) {
    if (reason === 'silent' && !flows && !polling) {
      polling = Date.now() + 300_000; // as behind a proxy that buffers, for a while
      return;
    }
    if (!flows && polling < Infinity) polling = 0;
    // It may be that only what another tab wants is refused.
    if (final) return many ? tell('alone') : close({ reason, status, detail });
    wait = soon && !failures ? 0 : (wait ?? backoff(failures));
    failures++;
    if (!navigator.onLine) wait = longestPause;
    say(navigator.onLine ? 'waiting' : 'offline', { reason, status, detail, retryIn: wait });
    await sleep(wait);
  }

  function backoff(failed) {
    return Math.random() * Math.min(longestPause, 1000 * 2 ** failed);
  }

  // authorize gets a token that is not the one refused.
  async function authorize() {
    renewal = undefined;
    const next = (await (typeof token === 'function' ? token() : token)) ?? '';
    if (next === jwt) {
      if (refused) throw refused;
      return;
    }
    jwt = next;
    refused = undefined;
    try {
      const claims = atob(jwt.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
      const { exp, iat = 0 } = JSON.parse(claims);
      const life = 1000 * (exp - iat);
      let left = 1000 * exp - Date.now();
      // The clock is wrong: the token is taken for new, or without iat for everlasting.
      if (left < 0 || left > life) left = life;
      renewal = Date.now() + Math.max(left / 2, left - 30_000, Math.min(life / 2, 10_000));
    } catch {
      // Not a JWT: the server says when it is over.
    }
    return true;
  }

  // ask waits for the answer as long as it is told, not counting the time for a token.
  async function ask(topics, query, accept, signal, most) {
    if (most) due = undefined;
    if (jwt === undefined || refused || Date.now() > renewal) await authorize();
    if (most) expect(most);
    const used = jwt;
    const target = new URL(url);
    for (const topic of topics) target.searchParams.append('topic', topic);
    for (const type of types) target.searchParams.append('type', type);
    for (const name in query) if (query[name]) target.searchParams.set(name, query[name]);
    const headers = { Accept: accept };
    if (used) headers.Authorization = `Bearer ${used}`;
    const response = await fetch(target, { headers, signal, credentials });
    const { status } = response;
    if (status === 200 && response.headers.get('Content-Type')?.startsWith(accept)) return response;

    const { detail } = await response.json().catch(() => ({}));
    const denied = status === 401 || status === 403;
    const final = status < 500 && ![200, 404, 408, 425, 429].includes(status);
    const reason = status === 204 ? 'stopped' : final ? 'refused' : 'unavailable';
    const after = response.headers.get('Retry-After');
    const trouble = { reason, status, detail, final, wait: after > 0 ? 1000 * after + backoff(0) : undefined };
    if (denied && used === jwt) refused = trouble;
    throw { ...trouble, final: final && !denied, soon: denied };
  }

  function expect(ms) {
    heard = Date.now();
    due = ms;
  }

  function begin(at) {
    return at ? { last_event_id: at } : { from: start };
  }

  async function stream(next, signal) {
    const response = await ask(next.asked, begin(head), 'text/event-stream', signal, patience);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let goodbye;
    const feed = parser(
      ({ type, data, id: at }) => {
        const detail = data && JSON.parse(data);
        const kind = type.startsWith('outcrier.') ? type.slice(9) : 'event';
        if (kind === 'hello') {
          failures = 0;
          heartbeat = detail.heartbeat ?? heartbeat;
          join(next, at, detail.resumed === 'gap' && detail);
          say('replaying');
          check();
          return;
        }
        tell(kind, detail, at);
        if (kind === 'live') say(kind);
        if (kind === 'goodbye') goodbye = detail.reason;
      },
      (ms) => (retry = ms),
    );
    while (!goodbye) {
      const { value } = await reader.read().catch(() => ({}));
      if (!value) break; // it has ended, or broken
      flows = true;
      feed(decoder.decode(value, { stream: true }));
      expect(2.5 * heartbeat);
      tell('beat');
    }
    const reason = goodbye ?? 'ended';
    const soon = /^(token|key)_/.test(reason);
    if (soon && jwt) refused = { reason, final: true };
    throw { reason, soon, wait: failures && !goodbye ? undefined : retry };
  }

  async function poll(next, signal) {
    for (let wait = 0, joined; Date.now() < polling; wait = 25) {
      if (head && !joined) join(next, (joined = head));
      await catchUp(next.asked, wait, signal);
      flows = true;
      failures = 0;
      say('live');
      check();
    }
  }

  // catchUp tells what there is up to now, or waits for it. Behind a page of 500, the
  // server's default, there may be more.
  async function catchUp(topics, wait, signal) {
    for (let events = []; events; events = events[499] && []) {
      const page = await askPage(topics, { ...begin(head), wait: `${wait}s` }, signal, 1000 * wait + 10_000);
      events = page.events;
      if (page.gap) tell('gap', page.gap);
      for (const event of events) tell('event', event);
      tell('position', 0, page.position);
    }
  }

  async function askPage(topics, query, signal, most) {
    return (await ask(topics, query, 'application/json', signal, most)).json();
  }

  // --- From tab to tab

  // say tells the state; one that is live stays so until there is trouble.
  function say(now, detail) {
    if (state === 'live' && (now === 'connecting' || now === 'replaying')) return;
    tell('state', { state: now, via: polling ? 'poll' : 'stream', ...detail });
  }

  // join says that the connection is for these tabs from at on, and that it goes on
  // for those who stand where it stood, after a gap if there is one.
  function join(next, at, gap) {
    tell('join', { ...next, since: head, told, heartbeat, gap }, at);
  }

  function tell(kind, detail, at) {
    const news = { kind, detail, at, tab };
    channel?.postMessage(news);
    take(news);
  }

  function take(news) {
    const { kind, detail, at } = news;
    if (session.signal.aborted) return;
    if (!leads) heard = Date.now(); // also from one that has not joined yet
    if (kind === 'join' && (member || detail.tabs.includes(id))) {
      wake();
      member = true;
      leader = news.tab;
      ({ tabs, asked, told, heartbeat = heartbeat } = detail);
      head = at;
    } else if (news.tab !== leader || (!member && !leads)) return; // also of one who led before
    if (at) head = at;
    if (kind === 'state') told = detail;
    if (queue) queue.push(news);
    else handle(news);
  }

  function handle({ kind, detail, at, tab: from }) {
    if (kind === 'join') return joined(detail, at, from);
    if (kind === 'alone') {
      end();
      area = undefined;
      return open();
    }
    if (at) stand(at);
    if (kind === 'event') give(detail);
    if (kind === 'state') turn(detail);
    if (kind === 'gap') miss(detail);
    if (kind === 'goodbye') emit('outcrier.goodbye', detail);
  }

  function joined(news, at, from) {
    const past = [];
    const where = position ?? start;
    if (at && from !== tab && where && where !== news.since) {
      past.push([wanted, begin(position)]);
    } else if (news.gap && where) miss(news.gap);
    if (session.signal.aborted) return; // a listener has closed the stream
    if (news.tabs.includes(id)) {
      active = wanted;
      if (at) past.push(...added.splice(0));
    }
    if (past[0]) return recover(past, at);
    if (at) stand(at);
    if (news.told) turn(news.told);
  }

  // recover gives what the connection does not bring this tab: all until it joined.
  async function recover(past, until) {
    const { signal } = session;
    queue = [];
    turn({ state: 'replaying' });
    for (let [topics, query] of past) {
      for (let failed = 0; topics[0] && query.last_event_id !== until && !signal.aborted; ) {
        try {
          const { events, position: at, gap } = await askPage(topics, { ...query, until }, AbortSignal.timeout(30_000));
          if (signal.aborted) return;
          if (gap) miss(gap);
          for (const event of events) if (!signal.aborted) give(event);
          query = begin(at);
          failed = 0;
        } catch (trouble) {
          if (trouble.final) {
            miss(trouble);
            break;
          }
          await sleep(backoff(failed++), 1);
        }
      }
    }
    if (signal.aborted) return;
    const waiting = queue;
    queue = undefined;
    stand(until);
    turn(told);
    while (waiting[0] && !queue && !signal.aborted) handle(waiting.shift());
    queue?.push(...waiting);
  }

  // --- To the page

  function stand(at) {
    position = at;
    start = undefined;
    stored((storage, name) => storage.setItem(name, at));
  }

  // stored uses the storage of this tab, which a reload keeps, and that of all.
  // Either may be forbidden, or full.
  function stored(use) {
    try {
      if (remember) for (const storage of [localStorage, sessionStorage]) use(storage, `outcrier:${remember}`);
    } catch {}
  }

  // covers tells whether a topic is one of a pattern's: "*" stands for one segment, a
  // final "**" for the rest, which may be empty.
  function covers(pattern, topic) {
    const want = pattern.split('/');
    const have = topic.split('/');
    const rest = want.at(-1) === '**' && want.pop();
    return want.every((segment, i) => segment === have[i] || (segment === '*' && i in have)) && (rest || !have[want.length]);
  }

  function give(event) {
    if (!active.some((topic) => covers(topic, event.topic)) || seen.has(event.id)) return;
    seen.add(event.id);
    const [oldest] = seen;
    if (seen.size > 2048) seen.delete(oldest);
    emit(event.type, event);
  }

  function miss(gap) {
    seen.clear(); // in another history the ids are others'
    emit('outcrier.gap', gap);
  }

  function turn(detail) {
    const before = state;
    const now = leads ? (detail.via ?? via) : 'tab';
    if (detail.state === before && now === via) return;
    state = detail.state;
    via = now;
    emit('outcrier.state', { ...detail, via });
    if (state === 'live' && before !== state) emit('outcrier.live', detail);
  }

  function emit(type, event) {
    for (const [pattern, listener] of listeners) {
      const fits = pattern.endsWith('*') && type.startsWith(pattern.slice(0, -1)) && !type.startsWith('outcrier.');
      try {
        if (fits || pattern === type) listener(event);
      } catch (error) {
        reportError(error); // the page's, and not ours
      }
    }
  }

  // --- What the page calls

  function on(type, listener) {
    listeners = [...listeners, [type, listener]];
    return () => off(type, listener);
  }

  function off(type, listener) {
    listeners = listeners.filter(([pattern, other]) => pattern !== type || (listener ?? other) !== other);
  }

  function close(why = { reason: 'closed' }) {
    page.abort();
    turn({ state: 'closed', ...why });
    end();
  }

  const listen = (type, listener) => addEventListener(type, listener, page);
  listen('online', wake);
  listen('visibilitychange', wake);
  listen('offline', () => attempt.abort({ reason: 'offline' }));
  // In the back/forward cache a page may hold no lock and no connection.
  listen('pagehide', end);
  listen('pageshow', ({ persisted }) => persisted && open());
  stored((storage, name) => (position = storage.getItem(name) ?? position));
  queueMicrotask(open);

  return {
    get state() { return state; },
    get via() { return via; },
    get position() { return position; },
    on,
    once(type, listener) {
      const never = on(type, (event) => listener(event, never()));
      return never;
    },
    off,
    clear() { listeners = []; },
    add(topics, { from } = {}) {
      const fresh = [topics].flat().filter((topic) => !wanted.includes(topic));
      if (!fresh[0]) return;
      wanted = [...wanted, ...fresh];
      if (from && from !== 'now') added.push([fresh, { from }]);
      change();
    },
    drop(topics) {
      const keep = (topic) => ![topics].flat().includes(topic);
      wanted = wanted.filter(keep);
      active = active.filter(keep);
      for (const past of added) past[0] = past[0].filter(keep);
      change();
    },
    close: () => close(),
  };
}

// parser reads Server-Sent Events (HTML Standard, 9.2.6) out of text that comes in
// pieces, cut anywhere. A BOM at the start is left to TextDecoder.
export function parser(dispatch, retry) {
  let rest = '';
  let returned = false; // the last piece ended with CR
  let [type, data, id] = ['', '', ''];
  return (text) => {
    if (!text) return;
    if (returned && text[0] === '\n') text = text.slice(1);
    returned = text.endsWith('\r');
    const lines = (rest + text).split(/\r\n|\r|\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line) {
        const [, name, value] = line.match(/^([^:]*):? ?(.*)/s);
        if (name === 'event') type = value;
        if (name === 'data') data += `${value}\n`;
        if (name === 'id' && !value.includes('\0')) id = value;
        if (name === 'retry' && /^\d+$/.test(value)) retry(+value);
      } else {
        if (data) dispatch({ type: type || 'message', data: data.slice(0, -1), id });
        type = data = '';
      }
    }
  };
}
