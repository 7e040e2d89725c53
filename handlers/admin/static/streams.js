import { call, read } from './api.js';
import { confirm, el, sync, table } from './dom.js';
import { clock, count, known, since, t } from './words.js';

// streams lists who follows what. Its first page follows what happens.
export function streams(main, page, query) {
  page.title(t('streams'));
  const state = query.get('state') === 'ended' ? 'ended' : 'open';
  const asked = { state, subject: query.get('subject') ?? '', node: query.get('node') ?? '' };
  const filtered = Boolean(asked.subject || asked.node);
  const field = (name) => el('label', {}, t(name), el('input', { name, value: asked[name], autocomplete: 'off', spellcheck: 'false' }));
  const tab = (to) =>
    el('a', { href: `#/streams?${new URLSearchParams({ ...asked, state: to })}`, 'aria-current': to === state ? 'true' : null }, t(to));
  const submit = (e) => {
    e.preventDefault();
    page.go('streams', { state: state === 'open' ? '' : state, ...Object.fromEntries(new FormData(e.target)) });
  };
  const off = el('p', { class: 'hint', hidden: true });
  const last = state === 'open' ? [t('actions'), 'act'] : [t('why')];
  const list = table(t('streams'), [[t('subject')], [t('follows'), 'wide'], [t('node')], [t('opened')], [t('sent'), 'figure'], last]);
  const none = el('p', { class: 'empty' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) }, t('older'));
  main.append(
    el('h1', {}, t('streams')),
    el('p', { class: 'soft' }, t('streams_why')),
    off,
    el('form', { class: 'filters', role: 'search', 'aria-label': t('streams'), onsubmit: submit },
      el('div', { class: 'tabs', role: 'group', 'aria-label': t('show') }, tab('open'), tab('ended')),
      field('subject'), field('node'), el('button', {}, t('apply'))),
    el('section', { class: 'panel', 'aria-label': t('streams') }, none, list.whole, el('div', { class: 'more' }, more)),
  );

  const end = (stream) =>
    page.attempt(async () => {
      const who = stream.subject || stream.client_address;
      if (!(await confirm(t('end_title'), t('end_text', { who }), t('end'), t('cancel')))) return;
      await call('DELETE', `streams/${stream.run}/${stream.stream}`);
      page.notice(t('end_asked'));
      await refresh(page.signal);
    });
  const why = (stream) => {
    const word = known(`why_${stream.end_reason}`) ?? stream.end_reason ?? '';
    return stream.end_requested_by && stream.end_reason === 'ended' ? t('why_by', { why: word, by: stream.end_requested_by }) : word;
  };
  const row = (s) =>
    list.row({ 'data-testid': 'stream' },
      [el('strong', {}, s.subject || t('anonymous')), el('span', { class: 'under' }, s.client_address)],
      [el('ul', { class: 'chips' }, s.topics.map((topic) => el('li', {}, topic))), s.types.length > 0 && el('span', { class: 'under' }, t('of_types', { types: s.types.join(', ') }))],
      s.node,
      el('span', { title: clock(s.opened_at) }, since(s.opened_at)),
      [s.events === 1 ? t('sent_event') : t('sent_events', { n: count(s.events) }), s.last_event && el('a', { class: 'under', href: `#/event/${s.last_event}` }, t('sent_last', { id: s.last_event }))],
      state === 'ended' ? [why(s), el('span', { class: 'under' }, since(s.closed_at))]
        : s.end_requested_at ? t('ending')
        : el('button', { type: 'button', class: 'bad', 'data-testid': 'end', 'aria-label': t('end_stream', { who: s.subject || s.client_address }), onclick: () => end(s) }, t('end')));

  let rest = []; // the pages behind the first
  let first = { streams: [], next: '' };
  let next = '';
  const show = () => {
    const seen = new Set();
    const all = [...first.streams, ...rest].filter((s) => {
      const key = `${s.run}.${s.stream}`;
      return !seen.has(key) && seen.add(key);
    });
    sync(list.body, all.map((s) => ({ ...s, shown: since(s.closed_at ?? s.opened_at) })), (s) => `${s.run}.${s.stream}`, row);
    list.whole.hidden = !all.length;
    none.hidden = all.length > 0;
    none.textContent = filtered ? t('streams_none_match') : state === 'open' ? t('streams_none') : t('streams_none_ended');
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
  page.every(2000, refresh);
  page.attempt(async () => {
    const o = await read('overview', {}, page.signal);
    page.signedIn(o.subject, o.expires);
    off.hidden = o.audit;
    off.textContent = t('streams_off', { node: o.node });
  });
}
