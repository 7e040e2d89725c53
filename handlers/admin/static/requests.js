import { read } from './api.js';
import { el, showList, sync, table, when } from './dom.js';
import { inWords } from './problems.js';
import { count, known, t } from './words.js';

// name is the word for a request: get_history_id of GET /admin/api/history/:id.
const name = (request) => request.replace(/^HEAD /, 'GET ').replace('/admin/api/', '').replace(/\W+/g, '_').toLowerCase();

// labels are the words of values that the page calls by another name.
const labels = { event: 'event_id', of: 'subject', sub: 'subject' };
const word = (each) => known(`value_${each}`) ?? known(labels[each] ?? each) ?? each;

// requests shows what admins asked and did, and what came of it.
export function requests(main, page, query) {
  page.title(t('requests'));
  const asked = { subject: query.get('subject') ?? '', about: query.get('about') ?? '', acts: query.get('acts') ?? '' };
  const filtered = Object.values(asked).some(Boolean);
  const field = (name, label, hint) => el('label', {}, t(label), el('input', { name, value: asked[name], placeholder: hint, autocomplete: 'off', spellcheck: 'false', 'data-testid': `by-${name}` }));
  const submit = (e) => {
    e.preventDefault();
    page.go('requests', Object.fromEntries(new FormData(e.target)));
  };
  const list = table(t('requests'), [[t('time')], [t('by')], [t('what'), 'wide'], [t('result'), 'wide']]);
  const none = el('p', { class: 'empty loading', role: 'status' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) }, t('older'));
  main.append(
    el('h1', {}, t('requests')),
    el('p', { class: 'soft' }, t('requests_why')),
    el('form', { class: 'filters', role: 'search', 'aria-label': t('requests'), onsubmit: submit },
      field('subject', 'by', t('subject_hint')), field('about', 'about', t('about_hint')),
      el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'acts', value: 'true', checked: asked.acts === 'true', 'data-testid': 'acts' }), t('acts_only')), el('button', { 'data-testid': 'filter' }, t('apply'))),
    el('section', { class: 'panel', 'aria-label': t('requests') }, none, list.whole, el('div', { class: 'more' }, more)),
  );

  const values = (all) => Object.entries(all ?? {}).filter(([each]) => each !== 'what');
  // chips shows values; what has a page of its own links to it.
  const chips = (all, event) => all.length > 0 && el('ul', { class: 'chips' }, all.map(([each, value]) => {
    const text = `${word(each)}${t('colon')}${each === 'events' || each === 'streams' ? count(Number(value)) : value}`;
    const to = each === 'event' || (each === 'id' && event) ? `event/${value}` : each === 'subject' || each === 'of' || each === 'sub' ? `people/${encodeURIComponent(value)}` : null;
    return el('li', {}, to ? el('a', { href: `#/${to}` }, text) : text);
  }));
  const row = (r) => {
    const of = name(r.request);
    return list.row({ 'data-testid': 'request', class: r.result === 'perhaps' ? 'late' : '' },
      when(r.requested_at),
      [r.subject ? el('a', { href: `#/requests?${new URLSearchParams({ subject: r.subject })}` }, el('strong', {}, r.subject)) : el('strong', {}, t('anonymous')), el('span', { class: 'under' }, r.client_address)],
      [el('span', { title: r.request }, known(`asked_${of}`) ?? r.request), chips(values(r.question), of.startsWith('get_history_') || of.startsWith('post_history_'))],
      [el('strong', { class: `result ${r.result}` }, t(`result_${r.result}`)), r.why && el('span', { class: 'under' }, inWords(r.why)),
        chips(values(r.done), of === 'post_history_id_again' || of === 'post_events')]);
  };
  let all = [];
  const show = (found) => {
    sync(list.body, all, (r) => r.id, row);
    showList(list.whole, none, all.length, t(filtered ? 'requests_none_match' : 'requests_none'));
    more.hidden = !found.more;
  };
  const refresh = async (signal) => {
    const found = await read('requests', asked, signal);
    all = found.requests;
    show(found);
  };
  const older = async () => {
    const found = await read('requests', { ...asked, before: all.at(-1).id }, page.signal);
    all = [...all, ...found.requests];
    show(found);
  };
  list.whole.hidden = true;
  page.every(10000, async (signal) => { if (all.length <= 100) await refresh(signal); });
}
