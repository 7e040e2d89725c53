// Runs under node's test runner: what is held back, refused, remembered.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { parts } from '../src/parts.js';
import { begin, event, happenings, hello, late, live, open, page, serve, status, stream, until } from './testkit.js';

delete globalThis.WebSocket; // of polls only

const nothing = () => {};

test('held back: a proxy that lets only the beginning of streams through', async () => {
  const beginning = stream(hello('0.p', '"resumed":false,"heartbeat":100') + live('0.p'));
  const beginnings = (response, asked) => (asked.accept === 'application/json' ? page('1.p', 1)(response) : beginning(response));
  const { asked, url } = await serve(beginnings);
  const s = open(url);
  await until('polls', () => s.via === 'poll' && s.ids.length === 1);
  assert.deepEqual(asked.filter(({ accept }) => accept !== 'application/json').length, 2);
});

test('held back: a stream that was good for long is lost, and no proxy to blame', async () => {
  const dying = (response) => {
    begin(response, hello('0.p', '"resumed":false,"heartbeat":40') + live('0.p'));
    const beat = setInterval(() => response.write(':\n'), 20);
    setTimeout(() => clearInterval(beat), 1500);
  };
  const { url, asked } = await serve(dying, dying, dying, stream(hello('0.p'), live('0.p'), event(1)));
  const s = open(url);
  await until('an event', () => s.ids.length === 1);
  assert.deepEqual([s.via, asked.length], ['stream', 4]);
});

test('held back: a line that is slow, or busy with other streams, is not taken for a proxy', async () => {
  // Streams and polls are answered in the order in which they came, after two seconds.
  const slow = (answer) => (response, asked) => setTimeout(() => answer(response, asked), 2000);
  const { url, asked } = await serve({ probe: slow(page('0.p')) }, slow(stream(hello('0.p'), live('0.p'), event(1))));
  const s = open(url, { patience: 900 });
  await until('an event', () => s.ids.length === 1);
  assert.deepEqual([s.via, asked.length], ['stream', 1]);
  assert.deepEqual(s.states.map(({ state, via }) => `${state} ${via}`), ['replaying stream', 'live stream']);

  // No connection is left: nothing is answered.
  const full = await serve({ probe: nothing }, nothing, stream(hello('0.p'), live('0.p'), event(1)));
  const seventh = open(full.url, { patience: 200 });
  await until('a connection is free', () => seventh.ids.length === 1);
  assert.ok(seventh.states.every(({ via }) => via === 'stream'));
});

// A stream that has been good for long, and then is silent, by the page's clock.
async function fallen(probe) {
  let write;
  const first = (response) => {
    begin(response, hello('0.p', '"resumed":false,"heartbeat":10000') + live('0.p'));
    write = (text) => response.write(text);
  };
  const { url, asked } = await serve({ probe }, first, stream(hello('0.p'), live('0.p'), event(9)));
  const s = open(url);
  await until('live', () => s.state === 'live');
  const clock = Date.now;
  const pass = (ms) => (Date.now = ((now) => () => now() + ms)(Date.now));
  for (const id of [1, 2, 3]) {
    pass(8000);
    write(event(id));
    await until('an event', () => s.ids.length === id);
  }
  pass(16_000); // more than 1.5 heartbeats, and less than 2.5
  return { s, asked, write: (text) => write(text), mend: () => (Date.now = clock) };
}

test('silence: a stream whose line answers a poll sooner is lost, long before the line would be', async () => {
  const { s, asked, mend } = await fallen(page('0.p'));
  try {
    await until('an event of the next stream', () => s.ids.includes('9'));
    assert.deepEqual([s.via, asked.length], ['stream', 2]);
    assert.ok(s.states.some(({ state, reason }) => state === 'waiting' && reason === 'silent'));
  } finally {
    mend();
  }
});

test('silence: a line that is slow has both late, and keeps its stream', async () => {
  let answer;
  const { s, asked, write, mend } = await fallen((response) => (answer = () => page('0.p')(response)));
  try {
    await until('a poll', () => answer);
    write(event(4));
    await until('the event that was late', () => s.ids.length === 4);
    answer();
    await new Promise((done) => setTimeout(done, 50));
    write(event(5));
    await until('another event', () => s.ids.length === 5);
    assert.deepEqual([s.ids, asked.length], [['1', '2', '3', '4', '5'], 1]);
    assert.ok(s.states.every(({ reason }) => !reason));
  } finally {
    mend();
  }
});

test('silence: a line that answers nothing is given up, though the part that asks does not come either', async () => {
  late('transports');
  const { url, asked } = await serve({ probe: nothing }, stream(hello('0.p', '"resumed":false,"heartbeat":200') + live('0.p')), stream(hello('0.p'), live('0.p'), event(1)));
  const s = open(url, { patience: 300 });
  await until('an event of the next stream', () => s.ids.length === 1);
  assert.deepEqual([s.via, asked.length], ['stream', 2]);
  assert.ok(s.states.some(({ state, reason }) => state === 'waiting' && reason === 'silent'));
});

test('a part that does not come: nothing piles up meanwhile', async () => {
  const { setInterval } = globalThis;
  const go = late('changes');
  const load = parts.changes;
  let missed = [];
  parts.changes = async () => {
    const { changes } = await load();
    return { changes: (...all) => changes(...all, (missed = all[5].map(([kind]) => kind))) };
  };
  let tick;
  globalThis.setInterval = (run, ms) => setInterval((tick = run), ms);
  const { url } = await serve(stream(hello('0.p'), live('0.p')), stream(hello('0.p', '"resumed":true'), live('0.p'), event(1, 'b')));
  try {
    const s = open(url);
    await until('live', () => s.state === 'live');
    s.add('b');
    for (let seconds = 0; seconds < 1000; seconds++) tick();
    go();
    await until('an event of the new topic', () => s.ids.length === 1);
    assert.deepEqual(missed, []);
  } finally {
    globalThis.setInterval = setInterval;
  }
});

test('refused: a topic is dropped and told, and the rest goes on', async () => {
  const refusal = (topic) => status(403, { 'Content-Type': 'application/problem+json' }, JSON.stringify({ status: 403, detail: `topic "${topic}" is not granted`, topic }));
  const { asked, url } = await serve(
    stream(hello('0.p'), event(1), live('1.p')),
    refusal('b'),
    stream(hello('1.p', '"resumed":true'), live('1.p'), event(2)),
  );
  const s = open(url);
  const refused = [];
  s.on('outcrier.refused', (why) => refused.push(why));
  await until('live', () => s.state === 'live');
  s.add('b');
  await until('another event', () => s.ids.length === 2);
  assert.deepEqual(refused, [{ topic: 'b', status: 403, detail: 'topic "b" is not granted' }]);
  assert.deepEqual(asked.map(({ topics, last_event_id }) => [topics, last_event_id]), [[['a'], undefined], [['a', 'b'], '1.p'], [['a'], '1.p']]);
  assert.deepEqual(s.states.map(({ state }) => state), ['replaying', 'live']);
});

test('refused: several at once; none left that was there first; one that was added to nothing', async () => {
  const refusing = (response, { topics }) => {
    const topic = topics.find((one) => one !== 'good');
    if (topic) status(403, {}, JSON.stringify({ detail: 'no', topic }))(response);
    else stream(hello('0.p'), event(1, 'good'), live('1.p'))(response);
  };
  const { url } = await serve(refusing);
  const s = open(url, { topics: ['b', 'good', 'c'] });
  const refused = [];
  s.on('outcrier.refused', ({ topic }) => refused.push(topic));
  await until('live', () => s.state === 'live');
  assert.deepEqual([refused, s.ids], [['b', 'c'], ['1']]);

  const none = open(url, { topics: ['b', 'c'] });
  await until('closed', () => none.state === 'closed');
  assert.deepEqual([none.states.at(-1).reason, none.states.at(-1).status], ['refused', 403]);

  const later = open(url, { topics: [] });
  await until('idle', () => later.state === 'idle');
  let told;
  later.on('outcrier.refused', ({ topic }) => (told = topic));
  later.add('b');
  await until('refused, and idle', () => told === 'b' && later.state === 'idle');
  later.add('good');
  await until('live', () => later.state === 'live');
});

test('refused: a token that grants the topic is asked for first', async () => {
  const { url, asked } = await serve((response, { token }) =>
    token === 'Bearer 1' ? status(403, {}, '{"topic":"a","detail":"no"}')(response) : stream(hello('0.p'), live('0.p'))(response));
  let n = 0;
  const s = open(url, { token: () => `${++n}` });
  await until('live', () => s.state === 'live');
  assert.equal(asked.length, 2);

  const never = await serve(status(403, {}, '{"topic":"a","detail":"no"}'));
  const closed = open(never.url, { token: () => `${++n}` });
  await until('closed', () => closed.state === 'closed');
  assert.equal(never.asked.length, 2);
});

// Storage is as browsers have it, and counts what is written.
class Storage {
  items = new Map();
  written = 0;
  getItem(name) { return this.items.get(name) ?? null; }
  setItem(name, value) {
    this.written++;
    this.items.set(name, value);
  }
}

afterEach(() => {
  delete globalThis.localStorage;
  delete globalThis.sessionStorage;
});

function storages() {
  for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(globalThis, name, { value: new Storage(), configurable: true });
}

test('remembered: for the topics, types and address that it is of', async () => {
  storages();
  const { asked, url } = await serve((response, { last_event_id }) => stream(hello(last_event_id ?? '7.p'), live(last_event_id ?? '7.p'))(response));
  const visit = async (options, last) => {
    const s = open(url, { remember: 'me', ...options });
    await until('live', () => s.state === 'live');
    s.close();
    assert.equal(asked.at(-1).last_event_id, last, JSON.stringify(options));
  };
  await visit({ topics: ['a', 'b'] }, undefined);
  await visit({ topics: ['b', 'a'] }, '7.p');
  await visit({ topics: ['a'] }, undefined);
  await visit({ topics: ['a', 'b'], types: ['t'] }, undefined);
  await visit({ topics: ['a', 'b'], remember: 'you' }, undefined);
  globalThis.sessionStorage.items.clear(); // another tab
  await visit({ topics: ['a', 'b'], from: '9.p' }, '7.p');
  assert.equal(asked.at(-1).from, '9.p', 'the server takes the later of the two');
});

test('remembered: topics that are named later', async () => {
  storages();
  const { asked, url } = await serve((response, { last_event_id, accept }) => {
    if (accept === 'application/json') page('7.p')(response);
    else stream(hello(last_event_id ?? '7.p'), live(last_event_id ?? '7.p'))(response);
  });
  for (const last of [undefined, '7.p']) {
    const s = open(url, { remember: 'me', topics: [] });
    await until('idle', () => s.state === 'idle');
    s.add('a', { from: '1h' });
    await until('live', () => s.state === 'live');
    s.close();
    assert.equal(asked.findLast(({ accept }) => accept === 'text/event-stream').last_event_id, last);
  }
});

test('remembered: written once a turn, and when the page goes', async () => {
  storages();
  const many = Array.from({ length: 30_000 }, (_, i) => event(i)).join('');
  const { url } = await serve(stream(hello('0.p'), many, live('30000.p')), stream(hello('1.p'), live('1.p')));
  const s = open(url, { remember: 'me' });
  await until('live', () => s.state === 'live');
  happenings.dispatchEvent(new Event('pagehide'));
  assert.ok(globalThis.localStorage.written < 1000, `${globalThis.localStorage.written} writes`);
  assert.deepEqual([...globalThis.sessionStorage.items.values()], ['30000.p']);
});

test('retry: its settings', async () => {
  const { random } = Math;
  Math.random = () => 0.5;
  try {
    const { url } = await serve(status(502));
    const s = open(url, { retry: { min: 10, factor: 3, max: 50, attempts: 4 } });
    await until('closed', () => s.state === 'closed');
    assert.deepEqual(s.states.map(({ state, retryIn, status }) => [state, retryIn, status]).filter(([state]) => state !== 'connecting'), [
      ['waiting', 5, 502], ['waiting', 15, 502], ['waiting', 25, 502], ['waiting', 25, 502], ['closed', undefined, 502],
    ]);
  } finally {
    Math.random = random;
  }
});

