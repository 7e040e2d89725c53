import { el } from './dom.js';
import { span, time } from './words.js';

const kept = 1000; // entries on the page; older ones make room
const summaryEvery = 2000; // ms, so that a screen reader is not flooded

// Timeline lists what arrived, oldest first: in document order the data-id of
// its entries ascends, save where a transaction committed late. Entries are
// li[data-id][data-type], with data-replayed if they came by replay; li.mark
// says what happened to the stream itself.
export class Timeline {
  #list;
  #summary;
  #missed;
  #atEnd = true;
  #count = 0;
  #delays = [];
  #timer = 0;
  #block = null; // the open "missed while away" mark and its count

  constructor(list, summary, missed) {
    [this.#list, this.#summary, this.#missed] = [list, summary, missed];
    list.addEventListener('scroll', () => {
      this.#atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 48;
    });
  }

  // add lists an event; delay is in ms, from the append to now.
  add(event, sentence, delay, replayed) {
    if (this.#block) this.#countMissed(this.#block.count + 1);
    if (!replayed) this.#delays = [...this.#delays.slice(-98), delay];
    this.#count += 1;
    this.#append(
      el('li', { 'data-id': event.id, 'data-type': event.type, 'data-replayed': replayed },
        el('p', { class: 'what' }, sentence),
        el('span', { class: 'delay', title: 'From the append, inside the transaction, to this screen' },
          replayed ? `${span(delay)} later` : span(delay)),
        el('p', { class: 'meta' },
          el('code', { class: 'type' }, event.type),
          el('span', { title: `topic ${event.topic}` }, event.topic),
          el('span', { class: 'id', title: 'The id in the table outbox' }, `#${event.id}`),
          el('time', { datetime: event.time }, time(event.time)))));
    this.#timer ||= setTimeout(() => this.#summarise(), this.#count === 1 ? 0 : summaryEvery);
  }

  // mark says what happened to the stream.
  mark(kind, text) {
    const li = el('li', { class: `mark ${kind}` }, text);
    this.#append(li);
    return li;
  }

  // startMissed opens the block of what is replayed after an absence in ms.
  startMissed(away) {
    if (this.#block) this.mark('note', 'Interrupted; going on from there.');
    const total = el('b', {}, '0');
    this.mark('missed', '').append('Missed while away: ', total, el('span', {}, `away for ${span(away)}`));
    this.#block = { total, count: 0 };
    this.#countMissed(0);
  }

  endMissed() {
    if (!this.#block) return;
    this.mark('caught-up', this.#block.count ? 'Caught up. Live again.' : 'Nothing was missed. Live again.');
    this.#block = null;
    clearTimeout(this.#timer);
    this.#summarise();
  }

  #countMissed(count) {
    this.#block.count = count;
    this.#block.total.textContent = this.#missed.textContent = String(count);
  }

  #append(li) {
    this.#list.append(li);
    while (this.#list.childElementCount > kept) this.#list.firstElementChild.remove();
    if (this.#atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #summarise() {
    this.#timer = 0;
    const sorted = [...this.#delays].sort((a, b) => a - b);
    const typical = sorted.length ? `, typically ${span(sorted[sorted.length >> 1])} from commit to screen` : '';
    this.#summary.textContent = `${this.#count} event${this.#count === 1 ? '' : 's'}${typical}.`;
  }
}
