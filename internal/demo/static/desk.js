import { clock } from './clock.js';
import { el, sync } from './dom.js';
import { change, price, time } from './words.js';

const ownMax = 30;
const decidedMax = 8;
const tradesMax = 12;

const find = (id) => document.getElementById(id);
const newestFirst = (a, b) => b.id - a.id;

// Desk is a person's state and how it looks. It starts as the API told it, and
// changes by events alone: what this person does comes back as an event, as
// what others do.
export class Desk {
  #role = document.body.dataset.role;
  #words;
  #do;
  #state = null;
  #timer = 0;

  // act(button, method, path, body) is called for what the person does.
  constructor(words, act) {
    this.#words = words;
    this.#do = act;
    this.#forms();
    setInterval(() => this.#state && this.#countdowns(), 1000);
  }

  show(state) {
    this.#state = state;
    this.#render();
  }

  // apply brings the state up to an event. Each event carries its thing whole,
  // so that applying it twice changes nothing.
  apply({ type, data }) {
    const s = this.#state;
    switch (type) {
      case 'audit.submitted':
      case 'audit.approved':
      case 'audit.rejected':
        upsert(s.items, data);
        break;
      case 'trade.executed': {
        const item = s.items.find((i) => i.id === data.item);
        if (item) Object.assign(item, { status: 'traded', price_cents: data.price_cents });
        upsert(s.trades, data);
        if (this.#role === 'trader') this.#price(data.symbol, data.price_cents);
        break;
      }
      case 'info.updated':
        this.#price(data.symbol, data.price_cents, data.previous_cents);
        break;
      case 'system.maintenance':
        upsert(s.maintenance, data);
        s.maintenance = s.maintenance.filter((m) => m.state === 'announced' || m.state === 'started');
        break;
      default:
        // What is left is about an account.
        for (const p of [s.person, ...s.people]) {
          if (p.name !== data.person) continue;
          const { signed_in_at, failed_logins, locked_until } = data;
          Object.assign(p, { signed_in_at, failed_logins, locked_until });
        }
    }
    // Many events in one go, as in a replay, are one change on the screen.
    this.#timer ||= setTimeout(() => this.#render(), 0);
  }

  #price(symbol, cents, previous) {
    const p = this.#state.prices.find((known) => known.symbol === symbol);
    if (p) Object.assign(p, { previous_cents: previous ?? p.price_cents, price_cents: cents });
  }

  #render() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const s = this.#state;
    sync(find('prices'), s.prices, (p) => p.symbol, (p) => this.#tile(p));
    switch (this.#role) {
      case 'submitter': this.#submitter(s); break;
      case 'reviewer': this.#reviewer(s); break;
      case 'trader': this.#trader(s); break;
    }
    this.#countdowns();
  }

  #submitter(s) {
    s.items = s.items.sort(newestFirst).slice(0, ownMax);
    s.trades = s.trades.sort(newestFirst).slice(0, tradesMax);
    count('items-count', s.items.filter((i) => i.status === 'submitted').length, 'open');
    sync(find('items'), s.items, (i) => i.id, (i) => this.#item(i));
    sync(find('trades'), s.trades, (t) => t.id, (t) => this.#trade(t));
  }

  #reviewer(s) {
    const waiting = s.items.filter((i) => i.status === 'submitted').sort((a, b) => a.id - b.id);
    const decided = s.items.filter((i) => i.status !== 'submitted')
      .sort((a, b) => Date.parse(b.reviewed_at) - Date.parse(a.reviewed_at)).slice(0, decidedMax);
    s.items = [...waiting, ...decided];
    count('queue-count', waiting.length);
    sync(find('queue'), waiting, (i) => i.id, (i) => this.#waiting(i));
    sync(find('decided'), decided, (i) => i.id, (i) => this.#item(i));
  }

  #trader(s) {
    s.items = s.items.filter((i) => i.status === 'approved').sort((a, b) => a.id - b.id);
    s.trades = s.trades.sort(newestFirst).slice(0, tradesMax);
    count('ready-count', s.items.length);
    sync(find('ready'), s.items, (i) => i.id, (i) => this.#ready(i));
    sync(find('trades'), s.trades, (t) => t.id, (t) => this.#trade(t));
  }

  // countdowns shows what changes by the clock alone.
  #countdowns() {
    const s = this.#state;
    const left = (until) => Math.ceil((Date.parse(until) - clock.now()) / 1000);
    const lockedFor = (p) => (p.locked_until ? Math.max(0, left(p.locked_until)) : 0);
    const locked = lockedFor(s.person);
    find('account').textContent = locked ? `Locked for another ${locked} s. A reviewer can unlock it.`
      : s.person.signed_in_at ? `Signed in since ${time(s.person.signed_in_at)}.`
      : 'Signed out.';
    find('account').dataset.state = locked ? 'locked' : s.person.signed_in_at ? 'in' : 'out';
    find('login').hidden = Boolean(locked || s.person.signed_in_at);
    find('logout').hidden = !s.person.signed_in_at;

    if (this.#role === 'reviewer') {
      const shut = s.people.filter((p) => lockedFor(p) > 0);
      sync(find('locked'), shut.map(({ name, title }) => ({ name, title })), (p) => p.name, (p) => this.#shut(p));
      for (const p of shut) find(`left-${p.name}`).textContent = `locked for another ${lockedFor(p)} s`;
    }

    // A window turns by its events; the clock is only for the countdown.
    sync(find('maintenance'), s.maintenance, (m) => m.id, (m) => this.#banner(m));
    for (const m of s.maintenance) {
      const to = left(m.state === 'announced' ? m.starts_at : m.ends_at);
      find(`window-${m.id}`).textContent = to > 0 ? `${m.state === 'announced' ? 'in' : 'for'} ${to} s` : 'any moment';
    }
  }

  #tile(p) {
    const way = Math.sign(p.price_cents - p.previous_cents);
    return el('li', { 'data-symbol': p.symbol, 'data-way': ['down', 'flat', 'up'][way + 1] },
      el('span', { class: 'name' }, p.title),
      el('strong', {}, price(p.price_cents)),
      el('span', { class: 'change' }, way ? change(p) : `per ${p.unit}`));
  }

  #item(i) {
    // To a reviewer it is a verdict, whatever the market made of it later.
    const reviewing = this.#role === 'reviewer';
    const status = reviewing && i.status === 'traded' ? 'approved' : i.status;
    const who = reviewing ? `${this.#words.first(i.submitter)} · ` : '';
    const cost = !reviewing && i.price_cents ? ` at ${price(i.price_cents)}` : '';
    const verdict = i.reviewer && `${this.#words.first(i.reviewer)}, ${time(i.reviewed_at)}${i.note ? `: “${i.note}”` : ''}`;
    return this.#row(i, status, `${who}${this.#words.amount(i)}${cost}`, verdict,
      el('span', { class: 'chip', 'data-status': status }, status));
  }

  #waiting(i) {
    const note = el('input', { class: 'note', maxlength: 280, placeholder: 'A word on it, if you like',
      'aria-label': `Note on ${i.title}`, 'data-testid': 'note' });
    const decide = (verdict) => (e) => this.#do(e.currentTarget, 'POST', `items/${i.id}/${verdict}`, { note: note.value });
    return this.#row(i, i.status, `${this.#words.full(i.submitter)} · ${this.#words.amount(i)} · ${time(i.submitted_at)}`, null,
      el('div', { class: 'row decide' }, note,
        el('button', { type: 'button', class: 'good', 'data-testid': 'approve', onclick: decide('approve') }, 'Approve'),
        el('button', { type: 'button', class: 'bad', 'data-testid': 'reject', onclick: decide('reject') }, 'Reject')));
  }

  #ready(i) {
    const buy = (e) => this.#do(e.currentTarget, 'POST', `items/${i.id}/trade`);
    return this.#row(i, i.status, `${this.#words.full(i.submitter)} · ${this.#words.amount(i)}`, i.note && `“${i.note}”`,
      el('button', { type: 'button', class: 'primary', 'data-testid': 'trade', onclick: buy }, 'Buy'));
  }

  #trade(t) {
    return el('li', { 'data-trade': t.id },
      el('div', { class: 'text' }, el('strong', {}, t.title),
        el('span', {}, `${this.#words.amount(t)} for ${this.#words.first(t.submitter)} · ${time(t.executed_at)}`)),
      el('span', { class: 'sum' }, price(t.quantity * t.price_cents)));
  }

  #row(item, status, line, extra, ...controls) {
    return el('li', { 'data-item': item.id, 'data-status': status },
      el('div', { class: 'text' }, el('strong', {}, item.title), el('span', {}, line), extra && el('span', { class: 'said' }, extra)),
      ...controls);
  }

  #shut({ name, title }) {
    const unlock = (e) => this.#do(e.currentTarget, 'POST', `unlock/${name}`);
    return el('li', { 'data-person': name },
      el('div', { class: 'text' }, el('strong', {}, title), el('span', { id: `left-${name}` })),
      el('button', { type: 'button', 'data-testid': 'unlock', onclick: unlock }, 'Unlock'));
  }

  #banner(m) {
    const cancel = (e) => this.#do(e.currentTarget, 'DELETE', `maintenance/${m.id}`);
    return el('li', { 'data-maintenance': m.id, 'data-state': m.state },
      el('strong', {}, this.#words.maintenance(m)),
      el('span', { id: `window-${m.id}`, class: 'left' }),
      m.note && el('span', {}, m.note),
      this.#role === 'reviewer' && m.state === 'announced'
        && el('button', { type: 'button', 'data-testid': 'cancel', onclick: cancel }, 'Cancel'));
  }

  #forms() {
    const on = (id, path, read) => find(id)?.addEventListener('submit', async (e) => {
      e.preventDefault();
      const form = e.currentTarget;
      const done = await this.#do(e.submitter ?? form, 'POST', path, read(new FormData(form)));
      if (done) form.reset();
    });
    const number = (text) => (text === '' ? 0 : Number(text));
    on('ask', 'items', (f) => ({ title: f.get('title'), symbol: f.get('symbol'), quantity: number(f.get('quantity')) }));
    on('login', 'login', (f) => ({ pin: f.get('pin') }));
    on('announce', 'maintenance', (f) => ({ note: f.get('note'), starts_in: number(f.get('starts_in')), lasts: number(f.get('lasts')) }));
    find('logout').addEventListener('click', (e) => this.#do(e.currentTarget, 'POST', 'logout'));
  }
}

function upsert(list, thing) {
  const i = list.findIndex((known) => known.id === thing.id);
  if (i < 0) list.push(thing);
  else list[i] = thing;
}

function count(id, n, word = '') {
  find(id).textContent = n ? `${n} ${word}`.trim() : '';
}
