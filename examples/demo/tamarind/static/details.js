import { meaning } from './catalogue.js';
import { el } from './dom.js';
import { insertOf, transactionOf } from './sql.js';
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
    delay !== null && ['delay', replayed ? t('d.replayed', { delay: span(delay) }) : span(delay)],
    ['severity', known(`severity.${severity}`) ?? severity],
    ['action', action],
  ];
  const sql = el('pre', { tabindex: 0, role: 'region', 'aria-labelledby': 'details-sql', 'data-testid': 'sql' }, `${insertOf(event)};`);
  transactionOf(event).then((text) => {
    if (text) sql.textContent = text;
    else dialog.querySelector('#details-sql').textContent = t('d.sql-elsewhere');
  });
  const dialog = el('dialog', { class: 'details', 'aria-labelledby': 'details-title', 'data-testid': 'details', onclose: () => dialog.remove() },
    el('h2', { id: 'details-title', tabindex: -1, autofocus: true }, title),
    description && el('p', { class: 'hint', lang: 'en' }, description),
    el('dl', {}, facts.filter(Boolean).flatMap(([name, value]) => [el('dt', {}, t(`d.${name}`)), el('dd', {}, value)])),
    el('h3', { id: 'details-sql' }, t('d.sql')),
    sql,
    el('h3', { id: 'details-payload' }, t('d.payload')),
    el('pre', { tabindex: 0, role: 'region', 'aria-labelledby': 'details-payload' }, JSON.stringify(event.data, null, 2)),
    el('div', { class: 'foot' }, el('button', { type: 'button', class: 'primary', 'data-testid': 'close', onclick: () => dialog.close() }, t('close'))));
  document.body.append(dialog);
  dialog.showModal();
}
