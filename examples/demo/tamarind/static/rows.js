import { el } from './dom.js';
import { change, known, price, t, time } from './words.js';

// Rows makes what the lists of a desk show, of one thing each. act(button, method,
// path, body) is called for what the person does.
export class Rows {
  #role;
  #teller;
  #act;

  constructor(role, teller, act) {
    [this.#role, this.#teller, this.#act] = [role, teller, act];
  }

  price = (p) => {
    const way = Math.sign(Math.round((1000 * (p.price_cents - p.previous_cents)) / p.previous_cents));
    return el('li', { 'data-symbol': p.symbol, 'data-way': ['down', 'flat', 'up'][way + 1] ?? 'flat' },
      el('span', { class: 'name' }, this.#teller.good(p.symbol, p.title)),
      el('strong', {}, price(p.price_cents)),
      el('span', { class: 'change' }, way ? change(p) : t('per', { unit: this.#teller.unit(p.unit, 1) })));
  };

  item = (i) => {
    // To a reviewer it is a verdict, whatever the market made of it later.
    const reviewing = this.#role === 'reviewer';
    const status = reviewing && i.status === 'traded' ? 'approved' : i.status;
    const amount = this.#teller.amount(i);
    const line = !reviewing && i.price_cents ? t('item-cost', { amount, price: price(i.price_cents) }) : amount;
    const verdict = i.reviewer && t(i.note ? 'verdict-note' : 'verdict', { who: this.#teller.first(i.reviewer), time: time(i.reviewed_at), note: i.note });
    return this.#row(i, status, reviewing ? `${this.#teller.first(i.submitter)} · ${line}` : line, verdict,
      el('span', { class: 'chip', 'data-status': status }, known(`item.${status}`) ?? status));
  };

  waiting = (i) => {
    const note = el('input', { class: 'note', maxlength: 280, placeholder: t('note-example'), 'aria-label': t('note', { title: i.title }), 'data-testid': 'note' });
    const decide = (verdict, kind) => el('button',
      { type: 'button', class: kind, 'data-testid': verdict, 'aria-label': `${t(verdict)}: ${i.title}`, onclick: (e) => this.#act(e.currentTarget, 'POST', `items/${i.id}/${verdict}`, { note: note.value }) }, t(verdict));
    return this.#row(i, i.status, `${this.#teller.first(i.submitter)} · ${this.#teller.amount(i)} · ${time(i.submitted_at)}`, null,
      el('div', { class: 'decide' }, note, decide('approve', 'good'), decide('reject', 'bad')));
  };

  ready = (i) => {
    const buy = (e) => this.#act(e.currentTarget, 'POST', `items/${i.id}/trade`);
    return this.#row(i, i.status, `${this.#teller.first(i.submitter)} · ${this.#teller.amount(i)}`, i.note && t('said', { note: i.note }),
      el('button', { type: 'button', class: 'primary', 'data-testid': 'trade', 'aria-label': `${t('buy')}: ${i.title}`, onclick: buy }, t('buy')));
  };

  trade = (d) =>
    el('li', { 'data-trade': d.id },
      el('div', { class: 'text' }, el('strong', {}, d.title),
        el('span', {}, t('trade-line', { amount: this.#teller.amount(d), who: this.#teller.first(d.submitter), time: time(d.executed_at) }))),
      el('span', { class: 'sum' }, price(d.quantity * d.price_cents)));

  locked = ({ name, title }) =>
    el('li', { 'data-person': name },
      el('div', { class: 'text' }, el('strong', {}, title), el('span', { class: 'left' })),
      el('button', { type: 'button', 'data-testid': 'unlock', 'aria-label': `${t('unlock')}: ${title}`, onclick: (e) => this.#act(e.currentTarget, 'POST', `unlock/${name}`) }, t('unlock')));

  banner = (m) =>
    el('li', { 'data-maintenance': m.id, 'data-state': m.state },
      el('span', {}, el('strong', {}, this.#teller.maintenance(m)), m.note && ` · ${m.note}`),
      el('span', { class: 'left' }),
      this.#role === 'reviewer' && m.state === 'announced'
        && el('button', { type: 'button', class: 'small', 'data-testid': 'cancel', onclick: (e) => this.#act(e.currentTarget, 'DELETE', `maintenance/${m.id}`) }, t('cancel')));

  #row(item, status, line, extra, ...controls) {
    return el('li', { 'data-item': item.id, 'data-status': status },
      el('div', { class: 'text' }, el('strong', {}, item.title), el('span', {}, line), extra && el('span', { class: 'said' }, extra)),
      ...controls);
  }
}
