import { call, read } from './api.js';
import { broken, confirm, el, showList, sync, table, when } from './dom.js';
import { since, t, toward } from './words.js';

// scheduled shows what waits for its time, and what could not be delivered.
export function scheduled(main, page, query) {
  page.title(t('scheduled'));
  const asked = { topic: query.get('topic') ?? '', type: query.get('type') ?? '', failed: query.get('failed') ?? '' };
  const filtered = Object.values(asked).some(Boolean);
  const field = (name, hint) => el('label', {}, t(name), el('input', { name, value: asked[name], placeholder: hint, autocomplete: 'off', spellcheck: 'false' }));
  const submit = (e) => {
    e.preventDefault();
    page.go('scheduled', Object.fromEntries(new FormData(e.target)));
  };
  const list = table(t('scheduled'), [[t('due')], [t('type')], [t('topic'), 'wide'], [t('source')], [t('created')], [t('actions'), 'act']]);
  const none = el('p', { class: 'empty loading' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) }, t('older'));
  main.append(
    el('h1', {}, t('scheduled')),
    el('p', { class: 'soft' }, t('scheduled_why')),
    el('form', { class: 'filters', role: 'search', 'aria-label': t('scheduled'), onsubmit: submit },
      field('topic', t('topic_hint')), field('type', t('type_hint')),
      el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'failed', value: 'true', checked: asked.failed === 'true' }), t('failed_only')), el('button', {}, t('apply'))),
    el('section', { class: 'panel', 'aria-label': t('scheduled') }, none, list.whole, el('div', { class: 'more' }, more)),
  );
  const cancel = (event) =>
    page.attempt(async () => {
      const text = t('cancel_text', { type: event.type, topic: event.topic, due: toward(event.deliver_at) });
      if (!(await confirm(t('cancel_title'), text, t('cancel_yes'), t('keep')))) return;
      try {
        await call('DELETE', `scheduled/${event.id}`);
        page.notice(t('cancelled'));
      } finally {
        rest = rest.filter((other) => other.id !== event.id);
        await refresh(page.signal);
      }
    });
  const row = (event) =>
    list.row({ 'data-testid': 'planned', class: event.problem ? 'late' : '' },
      [el('strong', {}, event.due), el('span', { class: 'under' }, when(event.deliver_at))],
      el('code', { class: 'type' }, broken(event.type)), [broken(event.topic), el('span', { class: 'under' }, t('scheduled_id', { id: event.id })), event.problem && el('span', { class: 'under bad' }, t('not_delivered'), ' ', el('code', { lang: 'en' }, event.problem))],
      [event.source, event.publisher && el('a', { class: 'under', href: `#/people/${encodeURIComponent(event.publisher)}`, 'data-testid': 'publisher' }, t('published_by', event))], when(event.created_at, since(event.created_at)),
      page.can('operate') ? el('button', { type: 'button', class: 'bad', 'data-testid': 'cancel', 'aria-label': t('cancel_label', event), onclick: () => cancel(event) }, t('cancel_event')) : '');

  let first = [];
  let rest = [];
  let last = null;
  const show = (again) => {
    const all = [...first, ...rest.filter((event) => !first.some((other) => other.id === event.id))];
    last = all.at(-1) ?? null;
    sync(list.body, all.map((event) => ({ ...event, due: toward(event.deliver_at) })), (event) => event.id, row);
    showList(list.whole, none, all.length, t(filtered ? 'scheduled_none_match' : 'scheduled_none'));
    more.hidden = !again;
  };
  const refresh = async (signal) => {
    const found = await read('scheduled', asked, signal);
    first = found.scheduled;
    show(rest.length ? !more.hidden : found.more);
  };
  const older = async () => {
    const found = await read('scheduled', { ...asked, deliver_at: last.deliver_at, id: last.id }, page.signal);
    rest = [...rest, ...found.scheduled];
    show(found.more);
  };
  list.whole.hidden = true;
  page.every(2000, refresh);
}
