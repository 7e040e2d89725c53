import { meaning } from './catalogue.js';
import { el } from './dom.js';
import { known, moment, span, t } from './words.js';

// showDetails shows all that there is to know of an event.
export function showDetails({ event, delay, replayed }) {
  const { code, title, description, severity, action } = meaning(event.type);
  const facts = [
    ['type', `${event.type}${code ? ` (${code})` : ''}`],
    ['id', `#${event.id}`],
    ['topic', event.topic],
    ['source', event.source],
    ['time', moment(event.time)],
    ['delay', replayed ? t('d.replayed', { delay: span(delay) }) : span(delay)],
    ['severity', known(`severity.${severity}`) ?? severity],
    ['action', action],
  ];
  const dialog = el('dialog', { class: 'details', 'aria-labelledby': 'details-title', 'data-testid': 'details', onclose: () => dialog.remove() },
    el('h2', { id: 'details-title' }, title),
    description && el('p', { class: 'hint', lang: 'en' }, description),
    el('dl', {}, facts.flatMap(([name, value]) => [el('dt', {}, t(`d.${name}`)), el('dd', {}, value)])),
    el('h3', { id: 'details-payload' }, t('d.payload')),
    el('pre', { tabindex: 0, role: 'region', 'aria-labelledby': 'details-payload' }, JSON.stringify(event.data, null, 2)),
    el('button', { type: 'button', class: 'primary', autofocus: true, 'data-testid': 'close', onclick: () => dialog.close() }, t('close')));
  document.body.append(dialog);
  dialog.showModal();
}
