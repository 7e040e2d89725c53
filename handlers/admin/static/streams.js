import { call, read } from './api.js';
import { confirm, el, showList, sync, table, when } from './dom.js';
import { age, count, since, t } from './words.js';
import { reason } from './why.js';

const reasons = ['left', 'lost', 'stalled', 'ended', 'drain', 'token_expired', 'token_revoked', 'key_withdrawn', 'revoked', 'failed', 'node lost', 'node stopped'];

// streams lists who follows what. Its first page follows what happens.
export function streams(main, page, query) {
  page.title(t('streams'));
  const state = query.get('state') === 'ended' ? 'ended' : 'open';
  const asked = { state };
  for (const name of ['subject', 'node', 'reason', 'slow', 'order']) asked[name] = query.get(name) ?? '';
  const filtered = Boolean(asked.subject || asked.node || asked.reason || asked.slow);
  const field = (name, hint) => el('label', {}, t(name), el('input', { name, value: asked[name], placeholder: hint, autocomplete: 'off', spellcheck: 'false' }));
  const tab = (to) =>
    el('a', { href: `#/streams?${new URLSearchParams({ subject: asked.subject, node: asked.node, state: to })}`, 'aria-current': to === state ? 'true' : null }, t(`${to}_streams`));
  const choice = (name, options) =>
    el('label', {}, t(`by_${name}`), el('select', { name, onchange: (e) => e.target.form.requestSubmit() }, options.map(([value, text]) => el('option', { value, selected: value === asked[name] }, text))));
  const submit = (e) => {
    e.preventDefault();
    page.go('streams', { state: state === 'open' ? '' : state, ...Object.fromEntries(new FormData(e.target)) });
  };
  const off = el('p', { class: 'hint', hidden: true });
  const last = state === 'open' ? [t('actions'), 'act'] : [t('why')];
  const list = table(t('streams'), [[t('subject')], [t('follows'), 'wide'], [t('node')], [t('opened')], [t('sent'), 'figure'], last]);
  const none = el('p', { class: 'empty loading' }, t('loading'));
  const total = el('p', { class: 'soft', role: 'status', 'data-testid': 'total' });
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) }, t('older'));
  main.append(
    el('h1', {}, t('streams')),
    el('p', { class: 'soft' }, t('streams_why')),
    off,
    el('form', { class: 'filters', role: 'search', 'aria-label': t('streams'), onsubmit: submit },
      el('div', { class: 'tabs', role: 'group', 'aria-label': t('show') }, tab('open'), tab('ended')),
      field('subject', t('subject_hint')), field('node'),
      state === 'open' ? choice('slow', [['', t('all_streams')], ['true', t('slow_streams')]]) : choice('reason', [['', t('any')], ...reasons.map((each) => [each, reason({ end_reason: each })])]),
      choice('order', [['', t(state === 'open' ? 'order_opened' : 'order_ended')], ['sent', t('order_sent')]]),
      el('button', {}, t('apply'))),
    el('section', { class: 'panel', 'aria-label': t('streams') }, total, none, list.whole, el('div', { class: 'more' }, more)),
  );

  const end = (stream) =>
    page.attempt(async () => {
      const who = stream.subject || stream.client_address;
      if (!(await confirm(t('end_title'), t('end_text', { who }), t('end_it'), t('keep_open')))) return;
      await call('DELETE', `streams/${stream.run}/${stream.stream}`);
      page.notice(t('end_asked'));
      await refresh(page.signal);
    });
  const why = (stream) =>
    stream.end_requested_by && stream.end_reason === 'ended' ? t('ended_by', { why: reason(stream), by: stream.end_requested_by }) : reason(stream);
  const row = (s) =>
    list.row({ 'data-testid': 'stream', class: s.slow_for_s === null ? '' : 'late' },
      [s.subject ? el('a', { href: `#/people/${encodeURIComponent(s.subject)}` }, el('strong', {}, s.subject)) : el('strong', {}, t('anonymous')), el('span', { class: 'under' }, s.client_address)],
      [el('ul', { class: 'chips' }, s.topics.map((topic) => el('li', {}, topic))), s.types.length > 0 && el('span', { class: 'under' }, t('of_types', { types: s.types.join(', ') }))],
      s.node,
      when(s.opened_at, since(s.opened_at)),
      [s.position === '' ? t('unknown') : s.events === 1 ? t('sent_event') : t('sent_events', { n: count(s.events) }), s.last_event && el('a', { class: 'under', href: `#/event/${s.last_event}` }, t('sent_last', { id: s.last_event })),
        s.slow_for_s !== null && el('span', { class: 'under bad' }, t('slow_for', { age: age(s.slow_for_s) }))],
      state === 'ended' ? [why(s), el('span', { class: 'under' }, when(s.closed_at, since(s.closed_at)))]
        : s.end_requested_at ? t('ending')
        : page.can('operate') ? el('button', { type: 'button', class: 'quiet end', 'data-testid': 'end', 'aria-label': t('end_stream', { who: s.subject || s.client_address }), onclick: () => end(s) }, t('end')) : '');

  const rest = []; // the pages behind the first
  let first = { streams: [], next: '', total: 0 };
  let next = '';
  const show = () => {
    const seen = new Set();
    const all = [...first.streams, ...rest].filter((s) => {
      const key = `${s.run}.${s.stream}`;
      return !seen.has(key) && seen.add(key);
    });
    sync(list.body, all.map((s) => ({ ...s, shown: since(s.closed_at ?? s.opened_at) })), (s) => `${s.run}.${s.stream}`, row);
    showList(list.whole, none, all.length, filtered ? t('streams_none_match') : state === 'open' ? t('streams_none') : t('streams_none_ended'));
    total.textContent = !all.length ? '' : first.total >= 10000 ? t('of_or_more', { n: count(all.length), total: count(10000) }) : t('of_total', { n: count(all.length), total: count(first.total) });
    more.hidden = !next;
  };
  const refresh = async (signal) => {
    first = await read('streams', asked, signal);
    if (!rest.length) next = first.next;
    show();
  };
  const older = async () => {
    const page2 = await read('streams', { ...asked, cursor: next }, page.signal);
    rest.push(...page2.streams);
    next = page2.next;
    show();
  };
  list.whole.hidden = true;
  page.every(5000, refresh);
  page.attempt(async () => {
    const o = await read('overview', {}, page.signal);
    off.hidden = o.audit;
    off.textContent = t('streams_off', { node: o.node });
  });
}
