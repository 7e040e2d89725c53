import { read } from './api.js';
import { Line, bars } from './charts.js';
import { el, sync, table } from './dom.js';
import { age, clock, count, figure, since, t } from './words.js';

// overview shows the state of all nodes, every two seconds.
export function overview(main, page) {
  page.title(t('overview'));
  const tile = (name, id) => {
    const value = el('strong', { 'data-testid': id }, '–');
    const note = el('span', { class: 'note' });
    return { value, note, whole: el('li', {}, el('span', { class: 'name' }, name), value, note) };
  };
  const tiles = {
    events: tile(t('events_now'), 'events'),
    lag: tile(t('lag'), 'lag'),
    streams: tile(t('streams_open'), 'streams'),
    open: tile(t('owed'), 'owed'),
    waiting: tile(t('waiting'), 'waiting'),
  };
  const warnings = el('div', { class: 'warnings', role: 'alert' });
  const seen = el('p', { class: 'soft' });
  const lines = [
    new Line(t('chart_events'), 'rate', (s) => s.events_per_s, figure),
    new Line(t('chart_streams'), 'streams', (s) => s.streams, figure),
    new Line(t('chart_lag'), 'lag', (s) => (s.lag_s < 2.5 ? 0 : s.lag_s), (lag) => (lag ? age(lag) : '0')),
  ];
  const perNode = el('ul', { class: 'bars', 'data-testid': 'per-node' });
  const topics = el('ul', { class: 'bars', 'data-testid': 'topics' });
  const owing = table(t('transactions'), [[t('pid'), 'figure'], [t('who')], [t('age'), 'figure'], [t('state')], [t('query'), 'wide']]);
  const owingNone = el('p', { class: 'empty' }, t('transactions_none'));
  const nodes = table(t('nodes'), [[t('node')], [t('streams'), 'figure'], [t('lag'), 'figure'], [t('started')], [t('seen')], [t('position'), 'wide']]);
  const nodesNone = el('p', { class: 'empty' }, t('nodes_none'));
  const perNodePanel = el('section', { class: 'panel' }, el('h2', {}, t('per_node')), perNode);
  const topicsNone = el('p', { class: 'empty' }, t('busiest_none'));

  main.append(
    el('h1', {}, t('overview')),
    warnings,
    el('ul', { class: 'tiles' }, Object.values(tiles).map((each) => each.whole)),
    el('section', { class: 'panel charts' }, lines.map((line) => line.whole), seen),
    el('section', { class: 'panel', 'data-testid': 'owing' },
      el('h2', {}, t('transactions')), el('p', { class: 'soft' }, t('transactions_why')), owingNone, owing.whole),
    el('div', { class: 'pair' },
      el('section', { class: 'panel' }, el('h2', {}, t('busiest')), topicsNone, topics),
      perNodePanel),
    el('section', { class: 'panel', 'data-testid': 'nodes' }, el('h2', {}, t('nodes')), nodesNone, nodes.whole),
  );

  const warn = (texts) => sync(warnings, texts, (text) => text, (text) => el('p', {}, text));
  const show = (o) => {
    page.signedIn(o.subject, o.expires);
    warn([!o.following && t('not_following'), !o.listening && o.following && t('not_listening')].filter(Boolean));
    const set = (name, value, note, bad) => {
      tiles[name].value.textContent = value;
      tiles[name].note.textContent = note;
      tiles[name].whole.classList.toggle('bad', Boolean(bad));
    };
    const here = o.samples.at(-1);
    const live = o.nodes.filter((node) => node.seen_for_s < 30);
    set('events', here ? figure(here.events_per_s) : '–', o.last_id ? t('newest', { id: o.last_id }) : t('newest_none'));
    const behind = o.lag.behind_s ?? 0;
    const lag = Math.max(behind < 2.5 ? 0 : behind, o.lag.overdue_s < 1 ? 0 : o.lag.overdue_s);
    if (lag) set('lag', age(lag), behind >= lag ? t('lag_behind', { age: age(lag) }) : t('lag_overdue', { age: age(lag) }), true);
    else if (o.lag.behind_s === null) set('lag', '–', t('lag_unknown'));
    else set('lag', '0', t('lag_none'));
    const streams = live.length ? live.reduce((sum, node) => sum + node.streams, 0) : (here?.streams ?? 0);
    set('streams', count(streams), !live.length ? t('streams_here') : live.length === 1 ? t('streams_node') : t('streams_nodes', { n: live.length }));
    set('open', count(o.lag.open), !o.lag.open ? t('owed_none') : o.lag.open_for_s === null ? t('unknown') : t('owed_for', { age: age(o.lag.open_for_s) }), o.lag.open_for_s > 60);
    set('waiting', o.scheduled >= 1000 ? t('waiting_more') : count(o.scheduled), t('waiting_why'));
    seen.textContent = t('last_minutes', { node: o.node || t('streams_here') });
    for (const line of lines) line.show(o.samples);

    owing.whole.hidden = !o.open.length;
    owingNone.hidden = o.open.length > 0;
    sync(owing.body, o.open, (tx) => tx.gid ?? tx.pid, (tx) =>
      owing.row({ class: tx.age_s > 60 ? 'late' : '' },
        tx.pid ?? t('prepared', { gid: tx.gid }),
        [tx.role ?? t('unknown'), tx.application, tx.client].filter(Boolean).join(' · '),
        tx.age_s === null ? t('unknown') : age(tx.age_s),
        tx.state ?? t('unknown'),
        tx.query ? el('code', {}, tx.query) : t('query_hidden')));

    nodes.whole.hidden = !o.nodes.length;
    nodesNone.hidden = o.nodes.length > 0;
    perNodePanel.hidden = live.length === 0;
    bars(perNode, live.map((node) => ({ name: node.node, value: node.streams, text: count(node.streams) })));
    sync(nodes.body, o.nodes.map((node) => ({ ...node, seen: since(Date.now() - Math.max(0, node.seen_for_s) * 1000), started: since(node.started_at, Date.parse(o.now)) })), (node) => node.run, (node) =>
      nodes.row({ class: node.seen_for_s > 10 ? 'late' : '' },
        el('strong', {}, node.node), count(node.streams), node.lag_s === null ? t('unknown') : node.lag_s < 2.5 ? '0' : age(node.lag_s),
        el('span', { title: clock(node.started_at) }, node.started), node.seen_for_s < 3 ? t('now') : node.seen, el('code', {}, node.position ?? '–')));

    topicsNone.hidden = o.topics.length > 0;
    bars(topics, o.topics.map((topic) => ({ name: el('a', { href: `#/history?${new URLSearchParams({ topic: topic.topic })}` }, topic.topic), value: topic.events, text: count(topic.events) })));
  };
  page.every(2000, async (signal) => {
    try {
      show(await read('overview', {}, signal));
    } catch (err) {
      if (!signal.aborted && (err.status === 0 || err.status >= 500)) {
        warn([err.status ? t('no_database', { detail: err.message }) : t('no_answer')]);
      }
      throw err;
    }
  });
}
