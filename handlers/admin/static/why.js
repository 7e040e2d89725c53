import { read } from './api.js';
import { el, table, when } from './dom.js';
import { known, since, t } from './words.js';

// whyForm asks whether a person was sent an event, and if not why not. It has a field for
// the one of the two that is not given.
export function whyForm(page, { subject, id }) {
  const name = subject === undefined ? 'subject' : 'event';
  const input = el('input', { name, required: true, autocomplete: 'off', spellcheck: 'false', inputmode: name === 'event' ? 'numeric' : null, pattern: name === 'event' ? '[0-9]+' : null });
  const answer = el('div', { class: 'answer', role: 'status', 'data-testid': 'why' });
  const ask = (e) => {
    e.preventDefault();
    return page.attempt(async () => {
      answer.replaceChildren(el('p', { class: 'soft' }, t('loading')));
      try {
        answer.replaceChildren(...verdict(await read('people/why', { subject: subject ?? input.value, event: id ?? input.value }, page.signal)));
      } catch (err) {
        answer.replaceChildren();
        throw err;
      }
    });
  };
  return el('section', { class: 'panel' },
    el('h2', {}, t(subject === undefined ? 'why_person' : 'why_event')),
    el('form', { class: 'filters', onsubmit: ask }, el('label', {}, t(subject === undefined ? 'subject' : 'event_id'), input), el('button', { 'data-testid': 'ask-why' }, t('ask'))),
    answer);
}

function verdict(why) {
  const list = table(t('streams'), [[t('opened')], [t('ended')], [t('follows'), 'wide'], [t('node')], [t('verdict')]]);
  for (const s of why.streams) {
    list.body.append(list.row({},
      when(s.opened_at),
      s.closed_at ? [when(s.closed_at), el('span', { class: 'under' }, reason(s))] : t('still_open'),
      [el('ul', { class: 'chips' }, s.topics.map((topic) => el('li', {}, topic))), s.types.length > 0 && el('span', { class: 'under' }, t('of_types', { types: s.types.join(', ') }))],
      s.node, t(`verdict_short_${s.verdict}`)));
  }
  return [
    el('p', { class: `verdict ${why.verdict === 'sent' ? 'good' : ''}` }, el('strong', {}, t(`verdict_${why.verdict}`, { id: why.event, subject: why.subject, topic: why.topic, type: why.type }))),
    why.verdict === 'not_connected' && why.last_closed && el('p', {}, t('last_seen_before', { age: since(why.last_closed) }), ' (', when(why.last_closed), ')'),
    why.topic && el('p', { class: 'soft' }, t('appended_at'), ' ', when(why.created_at), ' · ', el('a', { href: `#/event/${why.event}` }, t('event', { id: why.event })), ' · ', el('code', {}, why.topic), ' · ', el('code', {}, why.type)),
    why.streams.length > 0 && list.whole,
  ].filter(Boolean);
}

// reason is why a stream ended, in words.
export const reason = (s) => (s.end_reason ? (known(`ended_${s.end_reason.replaceAll(' ', '_')}`) ?? s.end_reason) : '');

// perhaps marks a delivery that may not have arrived.
export const perhaps = () => el('span', { class: 'under perhaps', title: t('perhaps_why'), 'data-testid': 'perhaps' }, t('perhaps'));
