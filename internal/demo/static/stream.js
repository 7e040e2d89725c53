const firstBackoff = 500; // ms
const longestBackoff = 15000;

// Stream is one EventSource, and what the browser does not do by itself: say
// where it stands, and come back when EventSource has given up for good, which it
// does after any answer but 200.
//
// on.status(text): connecting, replaying, live or offline.
// on.hello(hello, again): the server's first word; again on a reconnect.
// on.event(event, replayed): a CloudEvents envelope, once per id.
// on.live(): the replay has met what happens now.
// on.goodbye(goodbye): the server ends the stream, and says why.
// on.lost(hello): the stream can't be resumed whole and is closed; read the
// state anew and open again.
export class Stream {
  #types;
  #on;
  #topics = [];
  #from = '';
  #lastId = '';
  #source = null;
  #timer = 0;
  #backoff = firstBackoff;
  #cut = false;
  #met = false; // a hello since open
  #replaying = false;
  #given = new Set(); // ids: a position that was rounded down gives some again

  constructor(types, on) {
    this.#types = types;
    this.#on = on;
    addEventListener('online', () => this.#cut || this.#source || this.#connect());
  }

  // open follows topics from a position.
  open(topics, position) {
    this.#close();
    [this.#topics, this.#from, this.#lastId, this.#met] = [topics, position, '', false];
    if (!this.#cut) this.#connect();
  }

  // cut ends the stream for real, until reconnect.
  cut() {
    this.#cut = true;
    this.#close();
    this.#on.status('offline');
  }

  reconnect() {
    this.#cut = false;
    if (!this.#source && this.#topics.length) this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#on.status('connecting');
    const query = new URLSearchParams(this.#topics.map((topic) => ['topic', topic]));
    // The browser's own retries carry the Last-Event-ID header, which wins.
    if (this.#lastId) query.set('last_event_id', this.#lastId);
    else query.set('from', this.#from);
    const source = new EventSource(`/events?${query}`);
    this.#source = source;

    const listen = (type, handle) =>
      source.addEventListener(type, (e) => {
        if (source !== this.#source) return;
        if (e.lastEventId) this.#lastId = e.lastEventId;
        handle(e.data);
      });
    listen('outcrier.hello', (data) => this.#hello(JSON.parse(data)));
    listen('outcrier.live', () => {
      this.#replaying = false;
      this.#on.status('live');
      this.#on.live();
    });
    listen('outcrier.goodbye', (data) => this.#on.goodbye(JSON.parse(data)));
    listen('outcrier.position', () => {});
    for (const type of this.#types) listen(type, (data) => this.#event(JSON.parse(data)));

    source.onerror = () => {
      if (source !== this.#source) return;
      if (source.readyState !== EventSource.CLOSED) {
        this.#on.status('connecting');
        return;
      }
      this.#source = null;
      this.#on.status('offline');
      this.#timer = setTimeout(() => this.#connect(), this.#backoff * (0.5 + Math.random()));
      this.#backoff = Math.min(2 * this.#backoff, longestBackoff);
    };
  }

  #hello(hello) {
    const again = this.#met;
    this.#met = true;
    this.#backoff = firstBackoff;
    this.#on.hello(hello, again);
    if (hello.resumed === 'gap' || (again && !hello.resumed)) {
      this.#close();
      this.#on.lost(hello);
      return;
    }
    this.#replaying = true;
    this.#on.status('replaying');
  }

  #event(event) {
    if (this.#given.has(event.id)) return;
    this.#given.add(event.id);
    if (this.#given.size > 5000) this.#given.delete(this.#given.values().next().value);
    this.#on.event(event, this.#replaying);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#replaying = false;
  }
}
