import { call, read } from './api.js';
import { keepOut } from './acts.js';
import { broken, confirm, el, showList, sync, table, when } from './dom.js';
import { sqlBox } from './sql.js';
import { clock, count, moment, since, t, typed } from './words.js';
import { perhaps, reason, whyForm } from './why.js';

// people finds a person, or shows one.
export function people(main, page, query, [subject]) {
  if (subject) person(main, page, query, subject);
  else find(main, page, query);
}

const to = (subject) => `#/people/${encodeURIComponent(subject)}`;

function find(main, page, query) {
  page.title(t('people'));
  const prefix = query.get('prefix') ?? '';
  const submit = (e) => {
    e.preventDefault();
    page.go('people', Object.fromEntries(new FormData(e.target)));
  };
  const list = table(t('people'), [[t('subject')], [t('open_now'), 'figure'], [t('on_record'), 'figure'], [t('last_connected')], [t('addresses'), 'wide']]);
  const none = el('p', { class: 'empty loading' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(next) }, t('older'));
  main.append(
    el('h1', {}, t('people')),
    el('p', { class: 'soft' }, t('people_why')),
    el('form', { class: 'filters', role: 'search', 'aria-label': t('people'), onsubmit: submit },
      el('label', {}, t('subject_begins'), el('input', { name: 'prefix', value: prefix, autocomplete: 'off', spellcheck: 'false', 'data-testid': 'prefix' })), el('button', {}, t('search'))),
    el('section', { class: 'panel', 'aria-label': t('people') }, none, list.whole, el('div', { class: 'more' }, more)),
  );
  let all = [];
  const show = (found) => {
    sync(list.body, all, (p) => p.subject, (p) =>
      list.row({ 'data-testid': 'person' },
        p.subject ? el('a', { href: to(p.subject) }, el('strong', {}, p.subject)) : t('anonymous'),
        count(p.open), p.streams >= 1000 ? t('or_more', { n: count(1000) }) : count(p.streams),
        p.open ? t('now') : when(p.last_closed ?? p.last_opened, since(p.last_closed ?? p.last_opened)), p.client_addresses.join(', ')));
    showList(list.whole, none, all.length, !found.audit ? t('people_off') : prefix ? t('people_none_match', { prefix }) : t('people_none'));
    more.hidden = !found.more;
  };
  const next = async () => {
    const found = await read('people', { prefix, after: all.at(-1).subject }, page.signal);
    all = [...all, ...found.people];
    show(found);
  };
  list.whole.hidden = true;
  page.every(10000, async (signal) => {
    if (all.length > 50) return; // older pages are shown
    const found = await read('people', { prefix }, signal);
    all = found.people;
    show(found);
  });
}

function person(main, page, query, subject) {
  page.title(subject);
  const end = () =>
    page.attempt(async () => {
      if (!(await confirm(t('end_all_title', { subject }), t('end_all_text'), t('end_all'), t('keep_open')))) return;
      const { streams: n } = await call('DELETE', 'streams', { query: { subject } });
      page.notice(t('end_all_asked', { n: count(n) }));
    });
  main.append(
    el('p', { class: 'links' }, el('a', { href: page.back('people') }, `← ${t('people')}`), el('a', { href: `#/requests?${new URLSearchParams({ about: subject })}` }, t('requests_about'))),
    el('div', { class: 'head' }, el('h1', {}, subject),
      page.can('operate') && el('div', { class: 'buttons' },
        el('button', { type: 'button', class: 'bad', 'data-testid': 'end-all', onclick: end }, t('end_all')),
        el('button', { type: 'button', class: 'bad', 'data-testid': 'keep-out', onclick: () => page.attempt(() => keepOut(page, subject)) }, t('keep_out')))),
    whyForm(page, { subject }),
    streamsOf(page, subject),
    sentTo(page, query, subject),
  );
}

function streamsOf(page, subject) {
  const list = table(t('streams'), [[t('opened')], [t('ended')], [t('follows'), 'wide'], [t('node')], [t('sent'), 'figure']]);
  const none = el('p', { class: 'empty loading' }, t('loading'));
  list.whole.hidden = true;
  page.every(5000, async (signal) => {
    const [open, ended] = await Promise.all(['open', 'ended'].map((state) => read('streams', { subject, state }, signal)));
    const all = [...open.streams, ...ended.streams.slice(0, 10)];
    sync(list.body, all.map((s) => ({ ...s, shown: clock(s.closed_at ?? s.opened_at) })), (s) => `${s.run}.${s.stream}`, (s) =>
      list.row({},
        when(s.opened_at), s.closed_at ? [when(s.closed_at), el('span', { class: 'under' }, reason(s))] : t('still_open'),
        el('ul', { class: 'chips' }, s.topics.map((topic) => el('li', {}, topic))), s.node, [count(s.events), s.last_event && el('a', { class: 'under', href: `#/event/${s.last_event}` }, t('sent_last', { id: s.last_event }))]));
    showList(list.whole, none, all.length, t('streams_none_match'));
  });
  const more = ['open', 'ended'].map((state) => el('a', { href: `#/streams?${new URLSearchParams({ subject, state })}` }, t(`all_${state}`)));
  return el('section', { class: 'panel' }, el('h2', {}, t('streams')), none, list.whole, el('p', { class: 'links' }, more));
}

function sentTo(page, query, subject) {
  const asked = { topic: query.get('topic') ?? '', from: query.get('from') ?? '', until: query.get('until') ?? '' };
  const problem = el('p', { class: 'problem', role: 'alert' });
  const submit = (e) => {
    e.preventDefault();
    page.go(`people/${encodeURIComponent(subject)}`, Object.fromEntries(new FormData(e.target)));
  };
  const field = (name, hint) => el('label', {}, t(name), el('input', { name, value: name === 'topic' ? asked[name] : typed(asked[name]), placeholder: hint, autocomplete: 'off', spellcheck: 'false' }));
  const list = table(t('was_sent'), [[t('event_id'), 'figure'], [t('type')], [t('topic'), 'wide'], [t('appended_at')], [t('between')], [t('node')]]);
  const none = el('p', { class: 'empty loading', role: 'status' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) });
  const unsure = el('p', { class: 'hint', hidden: true }, t('perhaps_why'));
  const sql = sqlBox(page);
  let all = [];
  let next = 0;
  const times = {};
  for (const name of ['from', 'until']) {
    times[name] = asked[name] && moment(asked[name]);
    if (times[name] === null) problem.textContent = t('time_bad', { text: asked[name] });
  }
  const show = (found) => {
    next = found.next;
    sync(list.body, all, (e) => e.id, (e) =>
      list.row({ 'data-testid': 'sent' },
        el('a', { href: `#/event/${e.id}` }, String(e.id)), [el('strong', {}, e.title ?? broken(e.type)), e.title && el('code', { class: 'under type' }, broken(e.type))], broken(e.topic),
        when(e.created_at), [when(e.sent_after), '\u00a0– ', when(e.sent_before), e.perhaps && perhaps()], e.nodes.join(', ')));
    unsure.hidden = !all.some((e) => e.perhaps);
    showList(list.whole, none, all.length, found.further ? t('further', { id: count(found.next) }) : t('sent_none'));
    if (found.further) none.hidden = false;
    more.hidden = !next;
    more.textContent = found.further ? t('go_further') : t('older');
    sql.show(found.sql);
  };
  const older = async () => {
    paged = true;
    const found = await read('people/sent', { subject, ...asked, ...times, before: next }, page.signal);
    all = [...all, ...found.events];
    show(found);
  };
  list.whole.hidden = true;
  let paged = false;
  if (!problem.textContent) page.every(5000, async (signal) => {
    if (paged) return;
    const found = await read('people/sent', { subject, ...asked, ...times }, signal);
    all = found.events;
    show(found);
  });
  else none.hidden = true;
  return el('section', { class: 'panel' },
    el('h2', {}, t('was_sent')), el('p', { class: 'soft' }, t('receipts_why')),
    el('form', { class: 'filters', onsubmit: submit }, field('topic', t('topic_hint')), field('from', t('time_hint')), field('until', t('time_hint')), el('button', {}, t('apply'))),
    problem, none, unsure, list.whole, el('div', { class: 'more' }, more), sql.whole);
}
