import { explained, read } from './api.js';
import { publish } from './acts.js';
import { broken, el, sync, when } from './dom.js';
import { sqlBox } from './sql.js';
import { count, moment, t, typed } from './words.js';

const names = ['topic', 'type', 'from', 'until', 'text', 'unsent'];
let kept = null; // what was shown last, for those who come back to it

// history searches the events.
export function history(main, page, query) {
  page.title(t('history'));
  const asked = Object.fromEntries(names.map((name) => [name, query.get(name) ?? '']));
  const filtered = hasFilter(asked);
  const unsent = asked.unsent === 'true';
  const problem = el('p', { class: 'problem', role: 'alert' });
  const follow = el('input', { type: 'checkbox', 'data-testid': 'follow', onchange: () => follow.checked && page.attempt(refresh) });
  const summary = el('p', { class: 'soft loading', role: 'status' }, t('loading'));
  const list = el('ol', { class: 'events', 'data-testid': 'events' });
  const first = el('div', { class: 'empty', hidden: true }, el('p', {}, t('none_yet')),
    el('pre', { class: 'code', tabindex: '0' }, `INSERT INTO outbox (topic, type, payload)\nVALUES ('user/42', 'audit.approved', '{"submission": 7}');`));
  const bound = el('span', { class: 'soft', 'data-testid': 'bound' });
  const more = el('button', { type: 'button', hidden: true, 'data-testid': 'more', onclick: () => page.attempt(older) });
  const sql = sqlBox(page);
  const files = el('p', { class: 'links' });
  const results = el('section', { class: 'panel results', 'aria-label': t('results') }, el('div', { class: 'head' }, summary, files), first, list, el('div', { class: 'more' }, bound, more));
  main.append(
    el('div', { class: 'head' }, el('h1', {}, t('history')),
      el('div', { class: 'buttons' },
        openForm(page),
        el('a', { class: 'button', href: '#/erased' }, t('erasures')),
        page.can('operate') && el('button', { type: 'button', 'data-testid': 'publish', onclick: () => page.attempt(() => publish(page)) }, t('publish_title')))),
    searchForm(page, asked, problem, follow),
    problem,
    results,
    sql.whole,
  );

  // What is asked for now: how long ago moves on, but not between the pages of one search.
  let now = Date.now();
  const parameters = () => {
    const given = { topic: asked.topic, type: asked.type, text: asked.text };
    for (const name of ['from', 'until']) given[name] = asked[name] && (moment(asked[name], now) ?? asked[name]);
    return given;
  };
  let events = [];
  let next = '';
  let further = '';
  const show = (found) => {
    problem.textContent = '';
    results.hidden = sql.whole.hidden = false;
    sync(list, events, (e) => e.id, row);
    summary.classList.remove('loading');
    summary.hidden = !events.length && !filtered && !found.further;
    summary.textContent = events.length ? t('found', { n: count(events.length) }) : found.further ? t('none_here', { id: count(found.scanned_to) }) : t(unsent ? 'unsent_none' : 'none_found');
    first.hidden = events.length > 0 || filtered || found.further;
    [next, further] = [found.next, found.further];
    bound.textContent = further ? t('further', { id: count(found.scanned_to) }) : !next && events.length ? t('no_more') : '';
    more.hidden = !next;
    more.textContent = further ? t('go_further') : t('older');
    sql.show(found.sql);
    files.hidden = unsent || !events.length;
    files.replaceChildren(file('csv', t('export_csv'), parameters()), file('json', t('export_json'), parameters()));
    kept = { hash: location.hash, events, found: { ...found, events: [] }, now };
  };
  const path = unsent ? 'unsent' : 'history';
  const refresh = async (signal = page.signal) => {
    now = Date.now();
    const found = await read(path, parameters(), signal);
    events = found.events;
    show(found);
  };
  const older = async () => {
    follow.checked = false;
    more.disabled = true;
    try {
      const found = await read(path, { ...parameters(), cursor: next }, page.signal);
      events = [...events, ...found.events];
      show(found);
    } finally {
      more.disabled = false;
    }
  };
  let begun = false;
  const back = page.returned && kept?.hash === location.hash ? kept : null;
  if (back) {
    [events, now, begun] = [back.events, back.now, true];
    show(back.found);
    scrollTo(0, back.scroll ?? 0);
  }
  page.signal.addEventListener('abort', () => { if (kept) kept.scroll = scrollY; });
  page.every(2000, async (signal) => {
    if (begun && !follow.checked) return;
    const bad = ['from', 'until'].find((name) => asked[name] && moment(asked[name]) === null);
    if (bad) {
      problem.textContent = t('time_bad', { text: asked[bad] });
      results.hidden = sql.whole.hidden = begun = true;
      return;
    }
    try {
      await refresh(signal);
      begun = true;
    } catch (err) {
      if (err.status !== 400 || signal.aborted) throw err;
      begun = true; // to try again would not help
      problem.textContent = explained(err);
      results.hidden = sql.whole.hidden = !events.length;
    }
  });
}

const hasFilter = (asked) => names.some((name) => asked[name]);

// searchForm asks for what is looked for. Its fields show what was asked.
function searchForm(page, asked, problem, follow) {
  const field = (name, attributes) =>
    el('label', { class: name }, t(name), el('input', { name, id: `search-${name}`, autocomplete: 'off', spellcheck: 'false', value: asked[name], ...attributes }));
  const time = (name) => field(name, { value: typed(asked[name]), placeholder: t('time_hint'), list: 'ago' });
  const submit = (e) => {
    e.preventDefault();
    const given = Object.fromEntries(new FormData(e.target));
    for (const name of ['from', 'until']) {
      const at = given[name] && moment(given[name]);
      if (at === null) {
        problem.textContent = t('time_bad', { text: given[name] });
        return;
      }
      // How long ago stays so: the address is good another day.
      if (at && !/^\s*\d+\s*[smhd]\s*$/.test(given[name])) given[name] = at;
    }
    page.go('history', given);
  };
  return el('form', { class: 'panel search', role: 'search', 'aria-label': t('history'), onsubmit: submit },
    field('topic', { placeholder: t('topic_hint') }),
    field('type', { placeholder: t('type_hint') }),
    field('text', { placeholder: t('text_hint'), type: 'search', maxlength: 200 }),
    time('from'),
    time('until'),
    el('datalist', { id: 'ago' }, ['15m', '1h', '24h', '7d'].map((value) => el('option', { value }))),
    el('div', { class: 'buttons' },
      el('button', { class: 'primary', 'data-testid': 'search' }, t('search')),
      hasFilter(asked) && el('a', { class: 'button', href: '#/history' }, t('clear')),
      el('label', { class: 'check' }, follow, t('follow')),
      el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'unsent', value: 'true', checked: asked.unsent === 'true', 'data-testid': 'unsent' }), t('unsent'))));
}

// openForm opens an event by its id.
function openForm(page) {
  const open = (e) => {
    e.preventDefault();
    page.go(`event/${new FormData(e.target).get('id').replace(/^#/, '')}`);
  };
  return el('form', { class: 'open', onsubmit: open },
    el('label', {}, el('span', { class: 'unseen' }, t('open_event')),
      el('input', { name: 'id', required: true, pattern: '#?[0-9]{1,18}', inputmode: 'numeric', placeholder: t('event_id'), autocomplete: 'off', 'data-testid': 'event-id' })),
    el('button', {}, t('open_event')));
}

function row(e) {
  return el('li', { 'data-id': e.id, 'data-severity': e.severity ?? 'info' },
    el('a', { href: `#/event/${e.id}` },
      el('span', { class: 'line' },
        el('strong', {}, e.title ?? broken(e.type)),
        e.title && el('code', { class: 'type' }, broken(e.type)),
        el('span', { class: 'topic' }, broken(e.topic)),
        e.publisher && el('span', { class: 'topic', 'data-testid': 'publisher' }, t('published_by', e))),
      el('span', { class: 'line soft' }, when(e.created_at), el('span', { class: 'id' }, `#${e.id}`)),
      el('code', { class: 'payload' }, e.payload_chars > e.payload.length ? `${e.payload}…` : e.payload)));
}

// file is a link that saves what the search finds.
function file(format, text, parameters) {
  const query = new URLSearchParams([...Object.entries(parameters).filter(([, value]) => value), ['format', format]]);
  return el('a', { href: `/admin/api/export?${query}`, download: '', title: t('export_why'), 'data-testid': format }, text);
}
