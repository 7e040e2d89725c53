import { clock } from './clock.js';
import { el, sync } from './dom.js';
import { Rows } from './rows.js';
import { countdown, number, t, time } from './words.js';

const ownMax = 30;
const decidedMax = 8;
const tradesMax = 12;

const newestFirst = (a, b) => b.id - a.id;

// Desk is a person's state and how it looks. It starts as the API told it, and
// changes by events: what this person does comes back as an event, as what others
// do.
export class Desk {
  #root;
  #role;
  #teller;
  #rows;
  #state = null;
  #timer = 0;
  #helped = new Set(); // who asks for help

  constructor(root, teller, act) {
    [this.#root, this.#role, this.#teller] = [root, root.dataset.role, teller];
    this.#rows = new Rows(this.#role, teller, act);
    setInterval(() => this.#state && this.#countdowns(), 1000);
  }

  // show takes a state as the API told it.
  show(state) {
    this.#state = state;
    this.render();
  }

  // apply brings the state up to an event. Each event carries its thing whole,
  // so that applying it twice changes nothing.
  apply({ type, data, time: at }) {
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
        if (this.#role === 'trader') this.#price(at, data.symbol, data.price_cents);
        break;
      }
      case 'info.updated':
        this.#price(at, data.symbol, data.price_cents, data.previous_cents);
        break;
      case 'system.maintenance':
        upsert(s.maintenance, data);
        s.maintenance = s.maintenance.filter((m) => m.state === 'announced' || m.state === 'started')
          .sort((a, b) => Date.parse(a.starts_at) - Date.parse(b.starts_at));
        break;
      case 'support.requested':
        this.#helped.add(data.person);
        break;
      default:
        if (data?.person) this.#account(data);
    }
    // Many events in one go, as in a replay, are one change on the screen.
    this.#timer ||= setTimeout(() => this.render(), 0);
  }

  get person() {
    return this.#state?.person;
  }

  #account({ person, signed_in_at, failed_logins, locked_until }) {
    for (const p of [this.#state.person, ...this.#state.people]) {
      if (p.name === person) Object.assign(p, { signed_in_at, failed_logins, locked_until });
    }
    if (!locked_until) this.#helped.delete(person);
  }

  #price(at, symbol, cents, previous) {
    if (Date.parse(at) > Date.parse(this.#state.now)) this.#state.now = at;
    const p = this.#state.prices.find((known) => known.symbol === symbol);
    if (p) Object.assign(p, { previous_cents: previous ?? p.price_cents, price_cents: cents });
  }

  #find = (testid) => this.#root.querySelector(`[data-testid=${testid}]`);

  #list(testid, things, view, counted = 0, words = '{n}') {
    sync(this.#find(testid), things, (thing) => thing.id ?? thing.name, view);
    const count = this.#find(`${testid}-count`);
    if (count) count.textContent = counted ? (words === '{n}' ? number(counted) : t(words, { n: number(counted) })) : '';
  }

  // render shows the state, in the language of now.
  render() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const s = this.#state;
    if (!s) return;
    sync(this.#find('prices'), s.prices, (p) => p.symbol, this.#rows.price);
    this.#find('market-of').textContent = t('market-of', { time: time(s.now) });
    switch (this.#role) {
      case 'submitter': this.#submitter(s); break;
      case 'reviewer': this.#reviewer(s); break;
      case 'trader': this.#trader(s); break;
    }
    this.#countdowns();
  }

  #submitter(s) {
    const goods = this.#find('submit-symbol');
    const chosen = goods.value;
    goods.replaceChildren(...s.prices.map((p) => el('option', { value: p.symbol }, this.#teller.good(p.symbol, p.title))));
    if (chosen) goods.value = chosen;
    s.items = s.items.sort(newestFirst).slice(0, ownMax);
    s.trades = s.trades.sort(newestFirst).slice(0, tradesMax);
    this.#list('items', s.items, this.#rows.item, s.items.filter((i) => i.status === 'submitted').length, 'open');
    this.#list('trades', s.trades, this.#rows.trade);
  }

  #reviewer(s) {
    const waiting = s.items.filter((i) => i.status === 'submitted').sort((a, b) => a.id - b.id);
    const decided = s.items.filter((i) => i.status !== 'submitted')
      .sort((a, b) => Date.parse(b.reviewed_at) - Date.parse(a.reviewed_at)).slice(0, decidedMax);
    s.items = [...waiting, ...decided];
    this.#list('queue', waiting, this.#rows.waiting, waiting.length);
    this.#list('decided', decided, this.#rows.item);
  }

  #trader(s) {
    s.items = s.items.filter((i) => i.status === 'approved').sort((a, b) => a.id - b.id);
    s.trades = s.trades.sort(newestFirst).slice(0, tradesMax);
    this.#list('ready', s.items, this.#rows.ready, s.items.length);
    this.#list('trades', s.trades, this.#rows.trade);
  }

  // countdowns shows what changes by the clock alone.
  #countdowns() {
    const s = this.#state;
    const left = (until) => Math.ceil((Date.parse(until) - clock.now()) / 1000);
    const lockedFor = (p) => (p.locked_until ? Math.max(0, left(p.locked_until)) : 0);
    const locked = lockedFor(s.person);
    const account = this.#find('account');
    account.dataset.state = locked ? 'locked' : s.person.signed_in_at ? 'in' : 'out';
    account.textContent = t(`account.${account.dataset.state}`, { n: locked, time: time(s.person.signed_in_at) });
    this.#root.querySelector('[data-form=login]').hidden = Boolean(locked || s.person.signed_in_at);
    this.#find('logout').hidden = !s.person.signed_in_at;

    if (this.#role === 'reviewer') {
      const shut = s.people.filter((p) => lockedFor(p) > 0);
      this.#list('locked', shut.map(({ name, title }) => ({ name, title })), this.#rows.locked, shut.length);
      shut.forEach((p, i) => {
        const words = this.#helped.has(p.name) ? 'locked-helped' : 'locked-left';
        this.#find('locked').children[i].querySelector('.left').textContent = t(words, { n: lockedFor(p) });
      });
    }

    // A window turns by its events; the clock is only for the countdown.
    const banners = this.#find('maintenance');
    sync(banners, s.maintenance, (m) => m.id, this.#rows.banner);
    // Several may have to be scrolled, by keyboard too.
    if (s.maintenance.length) banners.tabIndex = 0;
    else banners.removeAttribute('tabindex');
    s.maintenance.forEach((m, i) => {
      const announced = m.state === 'announced';
      const to = left(announced ? m.starts_at : m.ends_at);
      banners.children[i].querySelector('.left').textContent = to > 0 ? t(announced ? 'in' : 'for', { time: countdown(to) }) : t('any-moment');
    });
  }
}

function upsert(list, thing) {
  const i = list.findIndex((known) => known.id === thing.id);
  if (i < 0) list.push(thing);
  else list[i] = thing;
}
