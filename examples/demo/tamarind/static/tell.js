import { change, known, number, price, straight, t, time } from './words.js';

// Teller knows the desk's people and goods by name, and says what events mean.
export class Teller {
  #people = new Map();
  #goods = new Map();

  learn({ people, prices }) {
    for (const p of people) this.#people.set(p.name, p.title);
    for (const p of prices) this.#goods.set(p.symbol, p);
  }

  full = (name) => this.#people.get(name) ?? name;
  first = (name) => String(this.full(name)).split(' ')[0];

  good = (symbol, title = this.#goods.get(symbol)?.title) => known(`good.${symbol}`) ?? title ?? symbol;
  unit = (unit, n) => known(`unit.${unit}`, { n }) ?? unit;

  // amount is "10 bags of Arabica coffee".
  amount({ quantity, symbol }) {
    const unit = this.unit(this.#goods.get(symbol)?.unit ?? '', quantity);
    return t('amount', { n: number(quantity), unit, good: this.good(symbol) }).replace(' ', '\u00a0');
  }

  // tell says in a sentence what an event means.
  tell({ type, data }) {
    const said = this.#say(type, data ?? {});
    return data?.note ? t('noted', { what: said, note: data.note }) : said;
  }

  #say(type, data) {
    const name = `tell.${type}`;
    switch (type) {
      case 'audit.submitted':
        return t(name, { who: this.first(data.submitter), amount: this.amount(data), title: data.title });
      case 'audit.approved':
      case 'audit.rejected':
        return t(name, { who: this.first(data.reviewer), title: data.title });
      case 'trade.executed':
        return t(name, { who: this.first(data.trader), amount: this.amount(data), price: price(data.price_cents), other: this.first(data.submitter) });
      case 'info.updated':
        return t(name, { good: this.good(data.symbol, data.title), price: price(data.price_cents), change: change(data) });
      case 'data.synced':
        return t(name, { who: this.first(data.by), n: data.rows });
      case 'client.error':
        return t(name, { title: data.title, time: time(data.until) });
      case 'user.logged_in':
      case 'user.logged_out':
      case 'user.login_failed':
        return t(name, { who: this.first(data.person), n: data.failed_logins });
      case 'account.locked':
      case 'account.unlocked':
        return t(name, { who: this.full(data.person), time: time(data.locked_until), other: this.first(data.by) });
      case 'support.requested':
        return t(data.about ? 'tell.support.about' : name, { who: this.first(data.person), about: data.about });
      case 'system.maintenance':
        return this.maintenance(data);
      default: // one of your own
        return straight(typeof data.text === 'string' ? `${type}: “${data.text}”` : type);
    }
  }

  maintenance({ state, starts_at: start, ends_at: end }) {
    return t(`maintenance.${state}`, { start: time(start), end: time(end) });
  }
}
