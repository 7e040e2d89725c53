// Sentences and figures for the screen.

const money = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const price = (cents) => money.format(cents / 100);
export const time = (at) => clock.format(new Date(at));

export function change(p) {
  const percent = (100 * (p.price_cents - p.previous_cents)) / p.previous_cents;
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)}\u00a0%`;
}

// span is a time in ms, short: 7 ms, 3.2 s, 4 min.
export function span(ms) {
  if (ms < 1) return '<\u00a01\u00a0ms';
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)}\u00a0s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)}\u00a0min`;
  return `${Math.round(ms / 3_600_000)}\u00a0h`;
}

// Words knows the desk's people and goods by name.
export class Words {
  #people = new Map();
  #goods = new Map();

  learn({ people, prices }) {
    for (const p of people) this.#people.set(p.name, p.title);
    for (const p of prices) this.#goods.set(p.symbol, p);
  }

  full = (name) => this.#people.get(name) ?? name;
  first = (name) => this.full(name).split(' ')[0];

  // amount is "10 bags of Arabica coffee".
  amount({ quantity, symbol }) {
    const { unit = '', title = symbol } = this.#goods.get(symbol) ?? {};
    return `${quantity.toLocaleString('en')}\u00a0${unit}${unit === 'kg' || quantity === 1 ? '' : 's'} of ${title}`;
  }

  // tell says in a sentence what an event means.
  tell({ type, data }) {
    const note = data.note ? `: “${data.note}”` : '';
    switch (type) {
      case 'audit.submitted':
        return `${this.first(data.submitter)} asks for ${this.amount(data)}: “${data.title}”`;
      case 'audit.approved':
        return `${this.first(data.reviewer)} approved “${data.title}”${note}`;
      case 'audit.rejected':
        return `${this.first(data.reviewer)} rejected “${data.title}”${note}`;
      case 'trade.executed':
        return `${this.first(data.trader)} bought ${this.amount(data)} at ${price(data.price_cents)} for ${this.first(data.submitter)}`;
      case 'info.updated':
        return `${data.title} is now at ${price(data.price_cents)}, ${change(data)}`;
      case 'user.logged_in':
        return `${this.first(data.person)} signed in`;
      case 'user.logged_out':
        return `${this.first(data.person)} signed out`;
      case 'user.login_failed':
        return `${this.first(data.person)} typed a wrong PIN (${data.failed_logins} of 3)`;
      case 'account.locked':
        return `${this.full(data.person)} is locked until ${time(data.locked_until)}`;
      case 'account.unlocked':
        return `${this.first(data.by)} unlocked ${this.full(data.person)}`;
      case 'system.maintenance':
        return `${this.maintenance(data)}${note}`;
      default:
        return type;
    }
  }

  maintenance({ state, starts_at: start, ends_at: end }) {
    switch (state) {
      case 'announced':
        return `Maintenance from ${time(start)} to ${time(end)}`;
      case 'started':
        return `Maintenance has begun, until ${time(end)}`;
      case 'finished':
        return 'Maintenance is over';
      default:
        return `Maintenance at ${time(start)} is cancelled`;
    }
  }
}
