import { el } from './dom.js';
import { known, t } from './words.js';

const shownFor = 6000; // ms
const most = 2; // at once, of which one passes

// Toasts are what a desk is told in passing. One that needs an answer, or is an
// error, stays until it is dismissed or settled; the others go after a while, and
// not while they are looked at.
export class Toasts {
  #root;
  #of = new Map(); // key → element
  #told = new WeakMap(); // element → what fills it

  constructor(root) {
    this.#root = root;
  }

  // show shows what tell returns, in the language of now: {severity, title, text, code,
  // button: {action, press}}. One of the same key gives way.
  show(key, tell, stays = tell().severity === 'error') {
    this.settle(key);
    const node = el('div', { class: 'toast', 'data-toast': key });
    this.#of.set(key, node);
    this.#told.set(node, () => this.#fill(node, key, tell()));
    this.#told.get(node)();
    this.#root.append(node);
    if (!stays) this.#fade(key, node);
    for (const [old, { dataset }] of [...this.#of]) {
      if (old !== key && (dataset.passing ? node.dataset.passing || this.#of.size > most : this.#staying > most)) this.settle(old);
    }
  }

  #fill(node, key, { severity = 'info', title, text, code, button }) {
    node.dataset.severity = severity;
    node.replaceChildren(
      el('div', { class: 'text' },
        el('strong', {}, severity !== 'info' && el('span', { class: 'severity' }, known(`severity.${severity}`) ?? severity), title, code && el('code', {}, code)),
        text && el('span', {}, text)),
      ...(button ? [el('button', { type: 'button', class: 'small', 'data-testid': 'action', 'data-action': button.action, onclick: (e) => button.press(e.currentTarget) }, t(`do.${button.action}`))] : []),
      el('button', { type: 'button', class: 'dismiss', 'aria-label': t('dismiss'), onclick: () => this.settle(key) }, '×'));
  }

  // relabel says all again, in the language of now.
  relabel() {
    for (const node of this.#of.values()) this.#told.get(node)();
  }

  get #staying() {
    return [...this.#of.values()].filter(({ dataset }) => !dataset.passing).length;
  }

  // settle takes a toast away.
  settle(key) {
    this.#of.get(key)?.remove();
    this.#of.delete(key);
  }

  #fade(key, node) {
    node.dataset.passing = 'true';
    let timer = 0;
    const stay = () => clearTimeout(timer);
    const go = () => {
      stay();
      timer = setTimeout(() => this.#of.get(key) === node && this.settle(key), shownFor);
    };
    for (const type of ['mouseenter', 'focusin']) node.addEventListener(type, stay);
    for (const type of ['mouseleave', 'focusout']) node.addEventListener(type, go);
    go();
  }
}
