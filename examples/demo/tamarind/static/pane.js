import { connect } from '/client.js';
import { actOn } from './actions.js';
import { ask, refusal } from './api.js';
import { clock } from './clock.js';
import { Desk } from './desk.js';
import { showDetails } from './details.js';
import { handleForms, relabel, wrong } from './forms.js';
import { frame } from './frame.js';
import { Teller } from './tell.js';
import { Timeline } from './timeline.js';
import { Toasts } from './toasts.js';
import { label, number, t, time } from './words.js';

const rereadEvery = 1000; // ms, at most
const remembered = 5000; // ids
const saidAfter = 3000; // ms without a stream

// Pane is one person's desk, with a stream of its own.
export class Pane {
  person;
  #root;
  #changed;
  #teller = new Teller();
  #desk;
  #timeline;
  #toasts;
  #stream = null;
  #topics = [];
  #position = ''; // to go on from, when the network is back
  #cutAt = null;
  #wasLive = false;
  #awaySince = null; // since when not live, having been
  #awayTimer = 0;
  #seen = new Set();
  #tries = 0; // to read the state, in a row
  #gaps = 0; // in a row, without getting live
  #stale = false;
  #reread = { at: 0, timer: 0, meanwhile: null };

  // changed(pane, arrived) is called when its status has changed, or an event has
  // arrived.
  constructor(root, solo, changed) {
    [this.#root, this.person, this.#changed] = [root, root.dataset.person, changed];
    frame(root, solo);
    const act = (...what) => this.act(...what);
    this.#desk = new Desk(root, this.#teller, act);
    this.#toasts = new Toasts(this.find('toasts'));
    this.#timeline = new Timeline(root, this.#teller, showDetails);
    this.find('network').addEventListener('click', () => this.#switchNetwork());
    this.find('logout').addEventListener('click', (e) => act(e.currentTarget, 'POST', 'logout'));
    this.find('sync')?.addEventListener('click', (e) => act(e.currentTarget, 'POST', 'sync'));
    handleForms(root, act);
  }

  find(testid) {
    return this.#root.querySelector(`[data-testid=${testid}]`);
  }

  get status() {
    if (this.#cutAt) return 'cut';
    return this.#stream?.state ?? 'connecting';
  }

  // start shows the state as it is now, and follows from exactly there.
  async start() {
    if (this.#cutAt) return;
    try {
      const past = this.#topics.length ? [] : await this.#past();
      const state = await this.#read();
      this.#timeline.past(past); // it knows of people and goods by now
      this.#tries = 0;
      this.#toasts.settle('start');
      this.#desk.show(state);
      this.#topics = state.topics;
      this.#follow(state.position);
    } catch (err) {
      this.#toasts.show('start', () => ({ severity: 'error', title: err.say?.() ?? err.message }));
      setTimeout(() => this.start(), Math.min(500 * 2 ** this.#tries++, 15_000));
    }
  }

  // past are the newest events so far. They are asked for before the state, whose position
  // is then behind all of them.
  async #past() {
    const query = new URLSearchParams({ last: 6, wait: 0 });
    for (const topic of (this.#root.dataset.topics ?? '').split(' ')) query.append('topic', topic);
    const headers = { Accept: 'application/json' };
    const response = await fetch(`/as/${this.person}/events?${query}`, { headers }).catch(() => null);
    return response?.ok ? (await response.json()).events : [];
  }

  async #read() {
    const asked = Date.now();
    const state = await ask(this.person, 'state');
    clock.set(state.now, asked, Date.now());
    this.#teller.learn(state);
    return state;
  }

  #follow(position) {
    this.#hangUp();
    const heartbeat = Number(document.body.dataset.heartbeat);
    const stream = connect(`/as/${this.person}/events`, { topics: this.#topics, from: position, heartbeat });
    const on = (type, listener) => stream.on(type, (event) => stream === this.#stream && listener(event));
    on('*', (event) => this.#event(event, stream.state !== 'live'));
    on('outcrier.state', (change) => this.#turned(change));
    on('outcrier.goodbye', ({ reason }) => this.#timeline.mark('note', 'goodbye', { reason }));
    on('outcrier.gap', ({ reason }) => this.#lost(reason));
    this.#stream = stream;
    this.#showStatus();
  }

  // hangUp closes the stream, which then tells no more, of its end neither.
  #hangUp() {
    const stream = this.#stream;
    this.#stream = null;
    stream?.close();
  }

  #turned({ state, detail, status }) {
    const away = this.#awaySince;
    if (state === 'live') this.#live();
    else if (state === 'replaying' && away) this.#timeline.startMissed(Date.now() - away);
    else if (state === 'closed') this.#timeline.mark('gap', 'refused', { detail: detail ?? t('answered', { status }) });
    this.#showStatus();
  }

  #live() {
    const missed = this.#timeline.endMissed();
    if (missed !== null) {
      this.#toasts.show('away', () => ({ title: t('away-title'), text: t(missed ? 'away' : 'away.none', { n: number(missed) }) }));
    }
    this.#awaySince = null;
    this.#gaps = 0;
    if (this.#stale) this.#refresh();
  }

  #lost(reason) {
    this.#timeline.mark('gap', 'gap', { reason });
    this.#seen.clear(); // in another history the ids are others'
    this.#hangUp();
    setTimeout(() => this.start(), this.#gaps++ ? 2000 : 0);
  }

  #showStatus() {
    const { status } = this;
    if (status !== 'live' && this.#wasLive) this.#awaySince ??= Date.now();
    if (status === 'live') this.#wasLive = true;
    // A short break is not worth a line: it would only come and go.
    const out = !this.#cutAt && ['waiting', 'offline', 'connecting'].includes(status) && this.#awaySince !== null;
    const late = out && Date.now() - this.#awaySince >= saidAfter;
    clearTimeout(this.#awayTimer);
    if (out && !late) this.#awayTimer = setTimeout(() => this.#showStatus(), this.#awaySince + saidAfter - Date.now());
    const pill = this.find('status');
    pill.dataset.status = status;
    pill.dataset.t = status === 'live' && this.#stream.via === 'poll' ? 'status.live-poll' : `status.${status}`;
    pill.textContent = t(pill.dataset.t);
    this.#root.dataset.status = status;
    this.find('network').setAttribute('aria-checked', String(!this.#cutAt));
    const cut = this.find('cut-notice');
    cut.hidden = !this.#cutAt && !late;
    cut.textContent = this.#cutAt ? t('cut', { time: time(this.#cutAt) }) : late ? t('away-notice', { time: time(new Date(this.#awaySince)) }) : '';
    this.#changed(this);
  }

  #event(event, replayed) {
    if (this.#seen.has(event.id)) return; // a position that was rounded down gives some again
    this.#seen.add(event.id);
    if (this.#seen.size > remembered) this.#seen.delete(this.#seen.values().next().value);
    const delay = Math.max(0, clock.now() - Date.parse(event.time));
    if (replayed && this.#awaySince && !this.#timeline.catchesUp) this.#timeline.startMissed(Date.now() - this.#awaySince);
    this.#desk.apply(event);
    this.#reread.meanwhile?.push(event);
    this.#timeline.add(event, delay, replayed);
    actOn({ event, delay, replayed }, this.#hands);
    this.#changed(this, event);
  }

  // hands are what a pane does about events.
  #hands = {
    me: () => this.person,
    tell: (event) => this.#teller.tell(event),
    show: (...toast) => this.#toasts.show(...toast),
    settle: (key) => this.#toasts.settle(key),
    act: (...what) => this.act(...what),
    refresh: () => {
      this.#stale = true;
      if (this.status === 'live') this.#refresh();
    },
    signIn: () => {
      const pin = this.find('pin');
      pin.scrollIntoView({ block: 'center' });
      pin.focus();
    },
    details: showDetails,
  };

  // refresh reads the state anew, once for many events that ask for it.
  #refresh() {
    const { at, timer, meanwhile } = this.#reread;
    if (timer || meanwhile) return; // stale stays: done after that
    this.#reread.timer = setTimeout(async () => {
      this.#reread = { at: Date.now(), timer: 0, meanwhile: [] };
      this.#stale = false;
      const state = await this.#read().catch(() => null);
      // What came since the question was asked may be newer than the answer.
      const newer = this.#reread.meanwhile;
      this.#reread.meanwhile = null;
      if (state && !this.#cutAt) {
        this.#desk.show(state);
        for (const event of newer) this.#desk.apply(event);
      }
      if (this.#stale && this.status === 'live') this.#refresh();
    }, Math.max(0, at + rereadEvery - Date.now()));
  }

  // switchNetwork closes the stream for real, or opens it from where it was.
  #switchNetwork() {
    if (this.#cutAt) {
      this.#cutAt = null;
      if (this.#position) this.#follow(this.#position);
      else this.start();
    } else {
      this.#cutAt = new Date();
      this.#position = this.#stream?.position ?? this.#position;
      this.#hangUp();
    }
    this.#showStatus();
  }

  // act sends what the person does, and tells if it was done. The screen changes
  // when the event arrives.
  async act(button, method, path, body) {
    button.disabled = true;
    const form = button.closest('form');
    wrong(form, null);
    try {
      if (this.#cutAt) throw refusal(() => t('you-are-cut'));
      const headers = body && { 'Content-Type': 'application/json' };
      await ask(this.person, path, { method, headers, body: body && JSON.stringify(body) });
      this.#toasts.settle('problem');
      return true;
    } catch (err) {
      const say = err.say ?? (() => err.message);
      if (form && err.field) wrong(form, say, err.field);
      else if (!err.told) this.#toasts.show('problem', () => ({ severity: 'error', title: say() }), false);
      return false;
    } finally {
      button.disabled = false;
    }
  }

  // relabel says all in the language of now.
  relabel() {
    label(this.#root);
    relabel(this.#root);
    this.#desk.render();
    this.#timeline.relabel();
    this.#toasts.relabel();
    this.#showStatus();
  }
}
