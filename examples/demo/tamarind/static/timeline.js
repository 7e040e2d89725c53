import { clock } from './clock.js';
import { el } from './dom.js';
import { known, number, span, t, time } from './words.js';
import { meaning } from './catalogue.js';
import { insertOf, shortInsertOf } from './sql.js';

const kept = 500; // entries on the page; older ones make room
const summaryEvery = 1000; // ms
const touchLasts = 1500; // ms

// Timeline lists what arrived, oldest first: in document order the data-id of
// its entries ascends, save where a transaction committed late. Entries are
// li[data-id][data-type], with data-replayed if they came by replay; li.mark
// says what happened to the stream itself.
export class Timeline {
  #find;
  #list;
  #teller;
  #details;
  #atEnd = true;
  #frame = 0;
  #count = 0;
  #delays = [];
  #timer = 0;
  #absence = null; // the one being caught up with: {mark, away, count}
  #retold = new WeakMap(); // li → what fills it, in the language of now

  // details(entry) is called for who wants to know more of an event.
  constructor(root, teller, details) {
    this.#find = (testid) => root.querySelector(`[data-testid=${testid}]`);
    [this.#list, this.#teller, this.#details] = [this.#find('timeline'), teller, details];
    // Only a hand leaves the end: a list also scrolls when it is laid out anew.
    let touched = -Infinity;
    for (const type of ['wheel', 'touchmove', 'keydown', 'pointerdown']) {
      this.#list.addEventListener(type, () => (touched = performance.now()), { passive: true });
    }
    this.#list.addEventListener('scroll', () => {
      if (performance.now() - touched > touchLasts) return;
      this.#atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 48;
    });
    new ResizeObserver(() => this.#stayAtEnd()).observe(this.#list);
  }

  // add lists an event; delay is in ms, from the append to now.
  add(event, delay, replayed) {
    if (this.#absence) this.#absence.count += 1;
    if (!replayed) this.#delays = [...this.#delays.slice(-98), delay];
    this.#count += 1;
    const { severity } = meaning(event.type);
    const li = el('li', { 'data-id': event.id, 'data-type': event.type, 'data-severity': severity, 'data-replayed': replayed });
    this.#append(li, () => li.replaceChildren(...this.#entry(event, delay, replayed)));
    this.#later();
  }

  // past lists what happened before the page was opened.
  past(events) {
    for (const event of events) {
      const li = el('li', { 'data-past': event.id, 'data-type': event.type, 'data-severity': meaning(event.type).severity });
      this.#append(li, () => li.replaceChildren(...this.#entry(event, null, false)));
    }
    if (events.length) this.mark('note', 'before');
  }

  #entry(event, delay, replayed) {
    const done = known(`action.${meaning(event.type).action}`);
    const more = () => this.#details({ event, delay, replayed });
    return [
      el('p', { class: 'what' }, this.#teller.tell(event)),
      delay === null ? el('span') : el('span', { class: 'delay', title: this.#measure() }, replayed ? t('later', { delay: span(delay) }) : span(delay)),
      el('p', { class: 'meta' },
        el('time', { datetime: event.time }, time(event.time)),
        el('code', { class: 'sql', title: insertOf(event), onclick: more }, shortInsertOf(event)),
        done && el('span', { class: 'action' }, done)),
      el('button', { type: 'button', class: 'id', 'aria-label': t('event-details', { id: event.id }), 'data-t-title': 'event-sql', onclick: more }, `#${event.id}`),
    ];
  }

  // mark says what happened to the stream.
  mark(kind, name, values = {}) {
    const li = el('li', { class: `mark ${kind}` });
    this.#append(li, () => {
      li.textContent = t(name, typeof values === 'function' ? values() : values);
    });
    return li;
  }

  get catchesUp() {
    return this.#absence !== null;
  }

  // startMissed opens the block of what is replayed after an absence in ms.
  startMissed(away) {
    if (this.#absence) {
      this.mark('note', 'interrupted');
      return;
    }
    this.#absence = { away, count: 0, mark: this.mark('missed', 'missed-begin', () => ({ away: span(away) })) };
    this.#find('missed').textContent = '0';
  }

  // endMissed closes it, and returns how many there were; null if it was not open.
  endMissed() {
    if (!this.#absence) return null;
    const { away, count, mark } = this.#absence;
    this.#absence = null;
    const retell = () => {
      mark.textContent = t(count ? 'missed' : 'missed-none', { n: number(count), away: span(away) });
    };
    this.#retold.set(mark, retell);
    retell();
    if (count) this.mark('caught-up', 'caught-up');
    else mark.classList.add('nothing');
    this.#find('missed').textContent = number(count);
    clearTimeout(this.#timer);
    this.#summarise();
    return count;
  }

  // relabel says all again, in the language of now.
  relabel() {
    for (const li of this.#list.children) this.#retold.get(li)?.();
    this.#stayAtEnd();
    this.#summarise();
  }

  #append(li, fill) {
    this.#retold.set(li, fill);
    fill();
    this.#list.append(li);
    while (this.#list.childElementCount > kept) this.#list.firstElementChild.remove();
    this.#stayAtEnd();
  }

  // stayAtEnd scrolls once for all that a frame brings.
  #stayAtEnd() {
    if (!this.#atEnd) return;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#list.scrollTop = this.#list.scrollHeight;
    });
  }

  // measure says what the delays are.
  #measure() {
    const off = Math.round(clock.ahead);
    return t('delay-what', { clock: off ? t('clock-off', { ms: `${number(off)}\u00a0ms` }) : t('clock-same') });
  }

  #later() {
    this.#timer ||= setTimeout(() => this.#summarise(), this.#count === 1 ? 0 : summaryEvery);
  }

  #summarise() {
    this.#timer = 0;
    this.#find('delay-about').popoverTargetElement.textContent = this.#measure();
    const sorted = [...this.#delays].sort((a, b) => a - b);
    const typical = sorted.length ? ` · ${t('typical', { delay: span(sorted[sorted.length >> 1]) })}` : '';
    const summary = this.#find('summary');
    delete summary.dataset.t;
    summary.textContent = this.#count ? t('summary', { n: number(this.#count) }) + typical : t('summary.none');
  }
}
