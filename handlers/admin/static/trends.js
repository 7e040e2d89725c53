import { read } from './api.js';
import { Line, spark } from './charts.js';
import { el, sync, when } from './dom.js';
import { age, clock, count, figure, moment, t } from './words.js';

// trends shows how many events there were of which type, or on which topic, for as long as
// they are held.
export function trends(main, page, query) {
  page.title(t('trends'));
  const by = query.get('by') === 'topic' ? 'topic' : 'type';
  const asked = { by, topic: query.get('topic') ?? '', type: query.get('type') ?? '', from: query.get('from') ?? '' };
  const link = (change, text, current) => el('a', { href: `#/trends?${new URLSearchParams({ ...asked, ...change })}`, 'aria-current': current ? 'true' : null }, text);
  const submit = (e) => {
    e.preventDefault();
    page.go('trends', { by, from: asked.from, ...Object.fromEntries(new FormData(e.target)) });
  };
  const field = (name, hint) => el('label', {}, t(name), el('input', { name, value: asked[name], placeholder: hint, autocomplete: 'off', spellcheck: 'false' }));
  const chart = new Line(t('trend_chart'), 'rate', (s) => s.events, figure, '', t('so_far'));
  const note = el('p', { class: 'soft loading' }, t('loading'));
  const list = el('ol', { class: 'trend', 'data-testid': 'trend' });
  const series = el('section', { class: 'panel', 'aria-label': t('trends'), hidden: true }, list);
  main.append(
    el('h1', {}, t('trends')),
    el('form', { class: 'filters', role: 'search', 'aria-label': t('trends'), onsubmit: submit },
      el('div', { class: 'tabs', role: 'group', 'aria-label': t('trend_by') }, link({ by: 'type' }, t('by_type'), by === 'type'), link({ by: 'topic' }, t('by_topic'), by === 'topic')),
      el('div', { class: 'tabs', role: 'group', 'aria-label': t('trend_since') },
        [['1h', t('last_hour')], ['24h', t('last_day')], ['7d', t('last_week')], ['', t('all_held')]].map(([from, text]) => link({ from }, text, from === asked.from))),
      field('topic', t('topic_hint')), field('type', t('type_hint')), el('button', {}, t('apply'))),
    el('section', { class: 'panel charts one' }, chart.whole, note),
    series,
  );
  const show = (trend) => {
    const buckets = trend.series[0]?.counts.length ?? 0;
    const at = (i) => new Date(Date.parse(trend.from) + i * trend.bucket_s * 1000).toISOString();
    const points = Array.from({ length: buckets }, (_, i) => ({ at: at(i), events: trend.series.reduce((sum, one) => sum + one.counts[i], 0) }));
    // One point is no line. Before all that is held there was nothing.
    if (buckets === 1 && !asked.from) points.unshift({ at: at(-1), events: 0 });
    chart.show(points);
    note.classList.remove('loading');
    series.hidden = chart.whole.hidden = buckets === 0;
    note.replaceChildren(...(buckets ? [t('trend_bucket', { age: age(trend.bucket_s) }), when(trend.from, t('trend_from', { at: clock(trend.from, false) })), trend.exact ? '' : t('trend_sample')] : [t('none_found')]));
    sync(list, trend.series, (one) => one.name || '*', (one) =>
      el('li', {},
        el('span', { class: 'name' }, one.name ? el('a', { href: `#/history?${new URLSearchParams({ [by]: one.name })}` }, one.name) : t('trend_others')),
        spark(one.counts),
        el('span', { class: 'value' }, `${trend.exact ? '' : '≈ '}${count(one.events)}`),
        el('span', { class: 'note' }, t('trend_peak', { n: count(Math.max(...one.counts)) }))));
  };
  page.every(30000, async (signal) => show(await read('trend', { ...asked, from: asked.from && moment(asked.from) }, signal)));
}
