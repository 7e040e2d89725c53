import { read } from './api.js';
import { el, sync } from './dom.js';
import { sqlBox } from './sql.js';
import { clock, count, t } from './words.js';

// local is a time as a datetime-local field has it.
function local(iso) {
  if (!iso) return '';
  const d = new Date(iso);
  return Number.isNaN(d.valueOf()) ? '' : new Date(d - d.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

// history searches the events.
export function history(main, page, query) {
  page.title(t('history'));
  const names = ['topic', 'type', 'from', 'until', 'text'];
  const asked = Object.fromEntries(names.map((name) => [name, query.get(name) ?? '']));
  const filtered = names.some((name) => asked[name]);
  const field = (name, attributes) =>
    el('label', { class: name }, t(name), el('input', { name, id: `search-${name}`, autocomplete: 'off', spellcheck: 'false', value: asked[name], ...attributes }));
  const submit = (e) => {
    e.preventDefault();
    const given = Object.fromEntries(new FormData(e.target));
    for (const name of ['from', 'until']) if (given[name]) given[name] = new Date(given[name]).toISOString();
    page.go('history', given);
  };
  const follow = el('input', { type: 'checkbox', 'data-testid': 'follow', onchange: () => follow.checked && page.attempt(refresh) });
  const problem = el('p', { class: 'problem', role: 'alert' });
  const summary = el('p', { class: 'soft', role: 'status' }, t('loading'));
  const list = el('ol', { class: 'events', 'data-testid': 'events' });
  const first = el('div', { class: 'empty', hidden: true }, el('p', {}, t('none_yet')),
    el('pre', { class: 'code', tabindex: '0' }, `INSERT INTO outbox (topic, type, payload)\nVALUES ('user/42', 'audit.approved', '{"submission": 7}');`));
  const bound = el('span', { class: 'soft', 'data-testid': 'bound' });
  const more = el('button', { type: 'button', hidden: true, 'data-testid': 'more', onclick: () => page.attempt(older) });
  const sql = sqlBox(page);
  const results = el('section', { class: 'panel results', 'aria-label': t('results') }, summary, first, list, el('div', { class: 'more' }, bound, more));
  main.append(
    el('h1', {}, t('history')),
    el('form', { class: 'panel search', role: 'search', 'aria-label': t('history'), onsubmit: submit },
      field('topic', { placeholder: t('topic_hint') }),
      field('type', { placeholder: t('type_hint') }),
      field('text', { placeholder: t('text_hint'), type: 'search', maxlength: 200 }),
      field('from', { type: 'datetime-local', step: 1, value: local(asked.from) }),
      field('until', { type: 'datetime-local', step: 1, value: local(asked.until) }),
      el('div', { class: 'buttons' },
        el('button', { class: 'primary', 'data-testid': 'search' }, t('search')),
        filtered && el('a', { class: 'button', href: '#/history' }, t('clear')),
        el('label', { class: 'check' }, follow, t('follow')))),
    problem,
    results,
    sql.whole,
  );

  const row = (e) =>
    el('li', { 'data-id': e.id, 'data-severity': e.severity ?? 'info' },
      el('a', { href: `#/event/${e.id}` },
        el('span', { class: 'line' },
          el('strong', {}, e.title ?? e.type),
          e.title && el('code', { class: 'type' }, e.type),
          el('span', { class: 'topic' }, e.topic)),
        el('span', { class: 'line soft' }, el('time', { datetime: e.created_at }, clock(e.created_at)), el('span', { class: 'id' }, `#${e.id}`)),
        el('code', { class: 'payload' }, e.payload_chars > e.payload.length ? `${e.payload}…` : e.payload)));

  let events = [];
  let next = '';
  let further = '';
  const show = (found) => {
    problem.textContent = '';
    results.hidden = sql.whole.hidden = false;
    sync(list, events, (e) => e.id, row);
    summary.hidden = !events.length && !filtered && !found.further;
    summary.textContent = events.length ? t('found', { n: count(events.length) }) : found.further ? t('none_here', { id: count(found.scanned_to) }) : t('none_found');
    first.hidden = events.length > 0 || filtered || found.further;
    [next, further] = [found.next, found.further];
    bound.textContent = further ? t('further', { id: count(found.scanned_to) }) : !next && events.length ? t('no_more') : '';
    more.hidden = !next;
    more.textContent = further ? t('go_further') : t('older');
    sql.show(found.sql);
  };
  const refresh = async (signal = page.signal) => {
    const found = await read('history', asked, signal);
    events = found.events;
    show(found);
  };
  const older = async () => {
    follow.checked = false;
    more.disabled = true;
    try {
      const found = await read('history', { ...asked, cursor: next }, page.signal);
      events = [...events, ...found.events];
      show(found);
    } finally {
      more.disabled = false;
    }
  };
  const failed = (err) => {
    if (page.signal.aborted) return;
    if (err.status === undefined) throw err;
    problem.textContent = err.status ? t('failed', { detail: err.message }) : t('no_answer');
    results.hidden = sql.whole.hidden = !events.length;
  };
  let begun = false;
  page.every(2000, async (signal) => {
    if (begun && !follow.checked) return;
    try {
      await refresh(signal);
      begun = true;
    } catch (err) {
      begun ||= err.status === 400; // to try again would not help
      failed(err);
    }
  });
}
