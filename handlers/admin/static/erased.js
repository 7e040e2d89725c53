import { read } from './api.js';
import { erase } from './acts.js';
import { el, showList, sync, table, when } from './dom.js';
import { count, t } from './words.js';

// erased shows what was erased and redacted, by whom and why.
export function erased(main, page) {
  page.title(t('erasures'));
  const list = table(t('erasures'), [[t('time')], [t('what')], [t('which')], [t('events'), 'figure'], [t('reason'), 'wide'], [t('by')]]);
  const none = el('p', { class: 'empty loading' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(older) }, t('older'));
  main.append(
    el('p', {}, el('a', { href: page.back('history') }, `← ${t('back')}`)),
    el('div', { class: 'head' }, el('h1', {}, t('erasures')),
      page.can('erase') && el('button', { type: 'button', class: 'bad', 'data-testid': 'erase-topics', onclick: () => erase(page, null, () => page.attempt(refresh)) }, t('erase_topics'))),
    el('p', { class: 'soft' }, t('erased_why')),
    el('section', { class: 'panel', 'aria-label': t('erasures') }, none, list.whole, el('div', { class: 'more' }, more)),
  );
  let all = [];
  const show = (found) => {
    sync(list.body, all, (e) => e.erasure, (e) =>
      list.row({ 'data-testid': 'erasure' }, when(e.erased_at), t(`kind_${e.kind}`), e.pattern ? el('code', {}, e.pattern) : t('event', { id: e.event_id }), count(e.events), e.reason, e.erased_by));
    showList(list.whole, none, all.length, t('erased_none'));
    more.hidden = !found.more;
  };
  const refresh = async (signal = page.signal) => {
    const found = await read('erasures', {}, signal);
    all = found.erasures;
    show(found);
  };
  const older = async () => {
    const found = await read('erasures', { before: all.at(-1).erasure }, page.signal);
    all = [...all, ...found.erasures];
    show(found);
  };
  list.whole.hidden = true;
  page.every(30000, async (signal) => { if (all.length <= 100) await refresh(signal); });
}
