import { read } from './api.js';
import { Line, bars } from './charts.js';
import { el, showList, sync, table, when } from './dom.js';
import { age, count, figure, since, t } from './words.js';

const latency = 2.5; // below it a node is not behind, its word is only some seconds old

// overview shows the state of all nodes, every two seconds.
export function overview(main, page) {
  page.title(t('overview'));
  const tile = (name, id, href) => {
    const value = el('strong', { 'data-testid': id }, '–');
    const note = el('span', { class: 'note loading' }, t('loading'));
    return { value, note, whole: el('li', {}, el('span', { class: 'name' }, href ? el('a', { href }, name) : name), value, note) };
  };
  const tiles = {
    events: tile(t('events_now'), 'events', '#/trends'),
    lag: tile(t('lag'), 'lag'),
    streams: tile(t('streams_open'), 'streams', '#/streams'),
    open: tile(t('in_flight'), 'open'),
    waiting: tile(t('scheduled_events'), 'waiting', '#/scheduled'),
  };
  const warnings = el('div', { class: 'warnings', role: 'alert' });
  const seen = el('p', { class: 'soft' });
  const lines = [
    new Line(t('chart_events'), 'rate', (s) => s.events_per_s, figure),
    new Line(t('chart_streams'), 'streams', (s) => s.streams, figure),
    new Line(t('chart_lag'), 'lag', (s) => (s.lag_s < latency ? 0 : s.lag_s), (lag) => (lag ? age(lag) : '0')),
  ];
  const topics = el('ul', { class: 'bars', 'data-testid': 'topics' });
  const pending = table(t('transactions'), [[t('pid')], [t('who')], [t('age'), 'figure'], [t('state')], [t('query'), 'wide']]);
  const pendingNone = el('p', { class: 'empty loading' }, t('loading'));
  const nodes = table(t('nodes'), [[t('node')], [t('version')], [t('streams'), 'figure'], [t('slow'), 'figure'], [t('lag'), 'figure'], [t('started')], [t('seen')], [t('settings'), 'wide']]);
  const nodesNote = el('p', { class: 'hint', hidden: true });
  const nodesNone = el('p', { class: 'empty loading' }, t('loading'));
  const topicsNone = el('p', { class: 'empty loading' }, t('loading'));

  main.append(
    el('h1', {}, t('overview')),
    warnings,
    el('ul', { class: 'tiles' }, Object.values(tiles).map((each) => each.whole)),
    el('section', { class: 'panel charts' }, lines.map((line) => line.whole), seen),
    el('section', { class: 'panel', 'data-testid': 'pending' },
      el('h2', {}, t('transactions')), el('p', { class: 'soft' }, t('transactions_why')), pendingNone, pending.whole),
    el('section', { class: 'panel', 'data-testid': 'nodes' }, el('h2', {}, t('nodes')), nodesNote, nodesNone, nodes.whole),
    el('section', { class: 'panel' }, el('h2', {}, t('busiest')), topicsNone, topics),
  );

  const warn = (texts) => sync(warnings, texts, (text) => text, (text) => el('p', {}, text));
  const show = (o) => {
    // A node without an audit tells of itself only, and only when it is the one that answers.
    const all = o.nodes.filter((node) => node.seen_for_s < 30);
    if (!o.audit) all.push({ run: 0, node: o.node, streams: o.streams_here, seen_for_s: 0, lag_s: o.samples.at(-1)?.lag_s ?? null, started_at: null, about: o.about });
    const alone = !o.audit && o.nodes.length === 0;
    const apart = differing(all);
    warn([!o.following && t('not_following'), !o.listening && o.following && t('not_listening'),
      apart.length > 0 && t('settings_differ', { settings: apart.join(', ') })].filter(Boolean));
    const set = (name, value, note, bad) => {
      tiles[name].value.textContent = value;
      tiles[name].note.textContent = note;
      tiles[name].note.classList.remove('loading');
      tiles[name].whole.classList.toggle('bad', Boolean(bad));
    };
    const here = o.samples.at(-1);
    set('events', here ? figure(here.events_per_s) : '–', o.last_id ? t('newest', { id: o.last_id }) : t('newest_none'));
    const behind = alone ? (here?.lag_s ?? null) : o.lag.behind_s;
    if (behind === null) set('lag', '–', t('lag_unknown'));
    else if (behind < latency) set('lag', '0', t('lag_none'));
    else set('lag', age(behind), t('lag_behind'), true);
    set('streams', count(all.reduce((sum, node) => sum + node.streams, 0)), alone ? t('streams_here', { node: o.node }) : all.length === 1 ? t('streams_node') : t('streams_nodes', { n: all.length }));
    set('open', count(o.lag.open), !o.lag.open ? t('in_flight_none') : o.lag.open_for_s === null ? t('in_flight_unknown') : t('in_flight_for', { age: age(o.lag.open_for_s) }), o.lag.open_for_s > 60);
    const overdue = o.lag.overdue_s >= 1;
    set('waiting', o.scheduled >= 1000 ? t('scheduled_more') : count(o.scheduled), overdue ? t('scheduled_late', { age: age(o.lag.overdue_s) }) : t('scheduled_pending'), overdue);
    seen.textContent = alone ? t('minutes_here', { node: o.node }) : t('minutes');
    for (const line of lines) line.show(o.samples);

    showList(pending.whole, pendingNone, o.open.length, t('transactions_none'));
    sync(pending.body, o.open, (tx) => tx.gid ?? tx.pid, (tx) =>
      pending.row({ class: tx.age_s > 60 ? 'late' : '' },
        tx.pid ? el('span', { class: 'unbroken' }, String(tx.pid)) : t('prepared', { gid: tx.gid }),
        [tx.role ?? t('unknown'), tx.application, tx.client].filter(Boolean).join(' · '),
        tx.age_s === null ? t('unknown') : age(tx.age_s),
        tx.state ?? t('unknown'),
        tx.query ? el('code', {}, tx.query) : t('query_hidden')));

    nodes.whole.hidden = false;
    nodesNone.remove();
    nodesNote.hidden = o.audit;
    nodesNote.textContent = t('nodes_here', { node: o.node });
    sync(nodes.body, all.map((node) => ({ ...node, seen: since(Date.now() - Math.max(0, node.seen_for_s) * 1000), started: node.started_at && since(node.started_at, Date.parse(o.now)), about: { ...node.about, samples: [] } })), (node) => node.run, (node) =>
      nodes.row({ class: node.seen_for_s > 10 ? 'late' : '' },
        el('strong', {}, node.node), node.about?.version ?? t('unknown'), count(node.streams),
        node.about?.slow?.length ? el('a', { href: '#/streams?slow=true' }, count(node.about.slow.length)) : '0',
        node.lag_s === null ? t('unknown') : node.lag_s < latency ? '0' : age(node.lag_s),
        node.started_at ? when(node.started_at, node.started) : '–', node.seen_for_s < 3 ? t('now') : node.seen, settings(node, apart)));

    topicsNone.hidden = o.topics.length > 0;
    topicsNone.classList.remove('loading');
    topicsNone.textContent = t('busiest_none');
    bars(topics, o.topics.map((topic) => ({ name: el('a', { href: `#/history?${new URLSearchParams({ topic: topic.topic })}` }, topic.topic), value: topic.events, text: count(topic.events) })));
  };
  pending.whole.hidden = nodes.whole.hidden = true;
  page.every(2000, async (signal) => show(await read('overview', {}, signal)));
}

// differing are the settings that nodes which keep an audit were not all given alike.
function differing(nodes) {
  const told = nodes.map((node) => node.about?.settings).filter((each) => each && Object.keys(each).length);
  return Object.keys(told[0] ?? {}).filter((name) => told.some((each) => each[name] !== told[0][name]));
}

function settings(node, apart) {
  const all = Object.entries(node.about?.settings ?? {}).filter(([, value]) => value !== '');
  if (!all.length) return t('unknown');
  const first = all.filter(([name]) => apart.includes(name) || name === 'retention' || name === 'audit');
  const chip = ([name, value]) => el('li', { class: apart.includes(name) ? 'apart' : null }, `${name} ${value}`);
  return [el('ul', { class: 'chips' }, first.map(chip)),
    el('details', { class: 'sql' }, el('summary', { 'aria-label': t('settings_of', { node: node.node }) }, t('settings_all')), el('ul', { class: 'chips' }, all.map(chip)))];
}
