import { call, read } from './api.js';
import { confirm, el, sync, table } from './dom.js';
import { clock, since, t, toward } from './words.js';

// scheduled shows what waits for its time.
export function scheduled(main, page) {
  page.title(t('scheduled'));
  const list = table(t('scheduled'), [[t('due')], [t('type')], [t('topic'), 'wide'], [t('source')], [t('created')], [t('actions'), 'act']]);
  const none = el('p', { class: 'empty' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) }, t('older'));
  main.append(
    el('h1', {}, t('scheduled')),
    el('p', { class: 'soft' }, t('scheduled_why')),
    el('section', { class: 'panel', 'aria-label': t('scheduled') }, none, list.whole, el('div', { class: 'more' }, more)),
  );
  const cancel = (event) =>
    page.attempt(async () => {
      const text = t('cancel_text', { type: event.type, topic: event.topic, due: toward(event.deliver_at) });
      if (!(await confirm(t('cancel_title'), text, t('cancel_event'), t('keep')))) return;
      try {
        await call('DELETE', `scheduled/${event.id}`);
        page.notice(t('cancelled'));
      } finally {
        rest = rest.filter((other) => other.id !== event.id);
        await refresh(page.signal);
      }
    });
  const row = (event) =>
    list.row({ 'data-testid': 'planned' },
      [el('strong', {}, event.due), el('span', { class: 'under' }, clock(event.deliver_at, false))],
      el('code', { class: 'type' }, event.type), event.topic, event.source, el('span', { title: clock(event.created_at) }, since(event.created_at)),
      el('button', { type: 'button', class: 'bad', 'data-testid': 'cancel', 'aria-label': t('cancel_label', event), onclick: () => cancel(event) }, t('cancel_event')));

  let first = [];
  let rest = [];
  let last = null;
  const show = (again) => {
    const all = [...first, ...rest.filter((event) => !first.some((other) => other.id === event.id))];
    last = all.at(-1) ?? null;
    sync(list.body, all.map((event) => ({ ...event, due: toward(event.deliver_at) })), (event) => event.id, row);
    list.whole.hidden = !all.length;
    none.hidden = all.length > 0;
    none.textContent = t('scheduled_none');
    more.hidden = !again;
  };
  const refresh = async (signal) => {
    const found = await read('scheduled', {}, signal);
    first = found.scheduled;
    show(rest.length ? !more.hidden : found.more);
  };
  const older = async () => {
    const found = await read('scheduled', { deliver_at: last.deliver_at, id: last.id }, page.signal);
    rest = [...rest, ...found.scheduled];
    show(found.more);
  };
  page.every(2000, refresh);
}
