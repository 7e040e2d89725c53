import { el } from './dom.js';

// What stands on a desk whatever happens, by role. Texts are filled in by label.
// Hooks for scripts and tests are data-testid attributes.

const text = (name, values) => el('span', { 'data-t': name, 'data-values': values && JSON.stringify(values) });

function field(name, label, attributes, kind = '') {
  return el('label', { class: kind }, text(label), el('input', { name, ...attributes }));
}

function form(id, ...children) {
  const wrong = el('p', { class: 'wrong', id: `${id}-wrong`, role: 'alert' });
  return el('form', { class: 'row', autocomplete: 'off', novalidate: true, 'aria-describedby': wrong.id, 'data-form': id.split('-').at(-1) }, ...children, wrong);
}

function panel(id, title, ...children) {
  return el('section', { class: 'panel', 'aria-labelledby': `${id}-title` },
    el('h3', { id: `${id}-title` }, text(title), el('span', { class: 'count', 'data-testid': `${id.split('-').at(-1)}-count` })), ...children);
}

const rows = (testid, empty) => el('ul', { class: 'rows', 'data-testid': testid, 'data-t-empty': empty });
const list = (id, testid, title, empty) => panel(`${id}-${testid}`, title, rows(testid, empty));

const panels = {
  submitter: (id) => [
    panel(`${id}-ask-panel`, 'ask', form(`${id}-ask`,
      field('title', 'what-for', { 'data-testid': 'submit-title', maxlength: 120, 'data-t-placeholder': 'what-for-example' }, 'grow'),
      el('label', {}, text('what'), el('select', { name: 'symbol', 'data-testid': 'submit-symbol' })),
      field('quantity', 'how-much', { 'data-testid': 'submit-quantity', type: 'number', min: 1, max: 10000, value: 10 }, 'short'),
      el('button', { class: 'primary', 'data-testid': 'submit-button', 'data-t': 'submit' }))),
    list(id, 'items', 'requests', 'requests-empty'),
    list(id, 'trades', 'bought', 'trades-empty'),
  ],
  reviewer: (id) => [
    list(id, 'queue', 'queue', 'queue-empty'),
    list(id, 'locked', 'locked-accounts'),
    list(id, 'decided', 'decided', 'decided-empty'),
    panel(`${id}-announce-panel`, 'announce', form(`${id}-announce`,
      field('note', 'announce-what', { 'data-testid': 'maintenance-note', maxlength: 280, 'data-t-placeholder': 'announce-example' }, 'grow'),
      field('starts_in', 'begins-in', { 'data-testid': 'maintenance-starts', type: 'number', min: 5, max: 86400, value: 30 }, 'short'),
      field('lasts', 'lasts', { 'data-testid': 'maintenance-lasts', type: 'number', min: 5, max: 86400, value: 30 }, 'short'),
      el('button', { 'data-testid': 'maintenance-button', 'data-t': 'announce-do' }))),
  ],
  trader: (id) => [
    list(id, 'ready', 'ready', 'ready-empty'),
    list(id, 'trades', 'trades', 'trades-empty'),
    panel(`${id}-sync`, 'price-list', el('p', { class: 'hint', 'data-t': 'price-list-what' }),
      el('button', { type: 'button', 'data-testid': 'sync', 'data-t': 'price-list-do' })),
  ],
};

function account(id, pin) {
  return panel(`${id}-account-panel`, 'account',
    el('p', { class: 'account', 'data-testid': 'account' }),
    form(`${id}-login`,
      field('pin', 'pin', { 'data-testid': 'pin', inputmode: 'numeric', maxlength: 4, placeholder: '••••' }, 'short'),
      el('button', { 'data-testid': 'login', 'data-t': 'sign-in' }),
      el('p', { class: 'hint', 'data-t': 'pin-hint', 'data-values': JSON.stringify({ pin }) })),
    el('button', { type: 'button', 'data-testid': 'logout', hidden: true, 'data-t': 'sign-out' }));
}

function head({ person, title, role, about }, solo) {
  return el('header', { class: 'who' },
    el('span', { class: `avatar who-${person}`, 'aria-hidden': 'true' }, title[0]),
    el('div', { class: 'name' },
      el('h2', { id: `${person}-title` }, title),
      el('p', {}, el('span', { class: 'role', 'data-t': `role.${role}` }),
        el('span', { class: 'pill', role: 'status', 'data-testid': 'status', 'data-status': 'connecting', 'data-t': 'status.connecting' }),
        el('span', { class: 'about', 'data-about': about }))),
    el('button', { type: 'button', class: 'toggle', role: 'switch', 'aria-checked': 'true', 'data-testid': 'network', 'data-t-title': 'network-title' }, text('network'), el('i')),
    !solo && el('a', { class: 'alone', href: `/p/${person}`, target: '_blank', rel: 'noopener', 'data-t-label': 'alone', 'data-t-title': 'alone' }, '↗'));
}

function timeline(id) {
  const about = el('div', { id: `${id}-delays`, popover: true, class: 'popover' });
  return el('section', { class: 'timeline', 'aria-labelledby': `${id}-timeline-title` },
    el('h3', { id: `${id}-timeline-title` }, text('timeline'), el('span', { class: 'count', 'data-testid': 'node' }),
      el('button', { type: 'button', class: 'info', popovertarget: about.id, 'data-testid': 'delay-about', 'data-t-label': 'delay-about' }, '?')),
    about,
    el('p', { class: 'summary' }, el('span', { 'data-testid': 'summary', 'data-t': 'summary.none' }),
      el('span', {}, text('missed-total'), ' ', el('b', { 'data-testid': 'missed' }, '0'))),
    el('ol', { 'data-testid': 'timeline', tabindex: 0, 'data-t-label': 'timeline-list', 'data-t-empty': 'timeline-empty' }));
}

// frame fills the section of a person.
export function frame(root, solo) {
  const { person, role, pin } = root.dataset;
  root.append(
    head(root.dataset, solo),
    el('p', { class: 'cut', 'data-testid': 'cut-notice', hidden: true }),
    el('ul', { class: 'banners', 'data-testid': 'maintenance', 'data-t-label': 'banners' }),
    el('div', { class: 'market' },
      el('h3', {}, text('market'), el('span', { class: 'count', 'data-testid': 'market-of' })),
      el('ul', { class: 'prices', 'data-testid': 'prices', 'data-t-label': 'market' })),
    el('div', { class: 'work' }, ...panels[role](person), account(person, pin)),
    el('div', { class: 'toasts', role: 'log', 'aria-live': 'polite', 'data-testid': 'toasts' }),
    timeline(person));
}
