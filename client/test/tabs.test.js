// Runs under node's test runner: tabs that share a connection.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { begin, event, hello, late, live, open, serve, status, stream, until } from './testkit.js';

// The ticks of tabs in the order in which they were opened: fiftieths of a second here,
// and none of tabs that stand still.
const { setInterval } = globalThis;
const ticks = [];
const still = new Set();
globalThis.setInterval = (run, ms) => {
  const tab = ticks.push(run) - 1;
  return setInterval(() => still.has(tab) || run(), ms / 50);
};
const clock = Date.now;

// Locks are Web Locks as far as the module uses them. Holders that hang do not learn
// that they were robbed.
class Locks {
  held = new Map();
  waiting = [];
  stolen = 0;
  hangs = false;

  query = async () => ({ held: [...this.held.keys()].map((name) => ({ name })) });

  request(name, { ifAvailable, steal, signal }, run) {
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => {
        this.waiting = this.waiting.filter((one) => one.reject !== reject);
        reject(signal.reason);
      });
      const one = { name, run, resolve, reject };
      if (steal && this.held.has(name)) {
        this.stolen++;
        if (!this.hangs) this.held.get(name).reject(new DOMException('stolen', 'AbortError'));
        this.held.delete(name);
      }
      if (!this.held.has(name)) this.grant(one);
      else if (ifAvailable) queueMicrotask(() => resolve(run(null)));
      else this.waiting.push(one);
    });
  }

  grant(one) {
    this.held.set(one.name, one);
    queueMicrotask(async () => {
      one.resolve(await one.run({ name: one.name }));
      if (this.held.get(one.name) !== one) return;
      this.held.delete(one.name);
      const next = this.waiting.find(({ name }) => name === one.name);
      this.waiting = this.waiting.filter((other) => other !== next);
      if (next) this.grant(next);
    });
  }
}

// The tabs' channels, in the order in which they were made.
const channels = [];
globalThis.BroadcastChannel = class extends BroadcastChannel {
  constructor(name) {
    super(name);
    channels.push(this);
  }
};

beforeEach(() => {
  navigator.locks = new Locks();
  channels.length = ticks.length = 0;
  still.clear();
  Date.now = clock;
});

test('topics may change before the connection is there, and after it was closed', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), live('0.p'), event(1, 'b')));
  const s = open(url, { share: true, topics: ['a', 'c'] });
  s.add('b');
  s.drop('c');
  await until('an event', () => s.ids.length === 1);
  assert.deepEqual(asked.map(({ topics }) => topics), [['a', 'b']]);

  const closed = open(url, { share: true });
  closed.close();
  closed.add('b');
  closed.drop('a');
  assert.equal(closed.state, 'closed');
});

test('tabs have one connection, and those that want the same cost no request', async () => {
  let more;
  const { asked, url } = await serve((response) => {
    begin(response, hello('0.p'), live('0.p'));
    more = () => response.write(event(1));
  });
  const tabs = [open(url, { share: true })];
  await until('the first is live', () => tabs[0].state === 'live');
  tabs.push(open(url, { share: true }));
  await until('the second too', () => tabs[1].state === 'live');
  more();
  await until('both have the event', () => tabs.every(({ ids }) => ids.length === 1));
  assert.deepEqual(tabs.map(({ via }) => via), ['stream', 'tab']);
  assert.equal(asked.length, 1);
});

test('a tab that wants more costs one request, and is given nothing from before', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), live('0.p')), stream(hello('0.p', '"resumed":true'), event(1), event(2, 'b'), live('2.p'), event(3, 'b')));
  const tabs = [open(url, { share: true })];
  await until('the first is live', () => tabs[0].state === 'live');
  tabs.push(open(url, { share: true, topics: ['b'] }));
  await until('the second has an event', () => tabs[1].ids.length === 1);
  assert.deepEqual([tabs[0].ids, tabs[1].ids, asked.length], [['1'], ['3'], 2]);
});

test('a topic that is refused is told to the tab that wants it, and the others go on', async () => {
  const { asked, url } = await serve((response, { topics }) => {
    if (topics.includes('b')) status(403, {}, '{"topic":"b","detail":"no"}')(response);
    else stream(hello('0.p'), live('0.p'), ...(asked.length > 1 ? [event(1)] : []))(response);
  });
  const tabs = [open(url, { share: true })];
  await until('the first is live', () => tabs[0].state === 'live');
  tabs.push(open(url, { share: true, topics: ['b'] }));
  await until('the second is closed', () => tabs[1].state === 'closed');
  await until('the first goes on', () => tabs[0].ids.length === 1);
  assert.deepEqual([tabs[1].states.at(-1).reason, tabs[0].state], ['refused', 'live']);
});

// robbed has the second tab take the lead of the first, which hangs. The third does not
// look yet.
async function robbed(url) {
  const tabs = [];
  for (let i = 0; i < 3; i++) {
    tabs.push(open(url, { share: true }));
    await until('the tab is live', () => tabs[i].state === 'live');
  }
  navigator.locks.hangs = true;
  still.add(0).add(2);
  // When the second has heard all that the first said, a minute passes.
  const { onmessage } = channels[1];
  let last = false;
  channels[1].onmessage = (message) => {
    last ||= message.data.kind === 'last';
    if (!last) onmessage(message);
  };
  channels[0].postMessage({ kind: 'last' });
  await until('the first has been heard out', () => last);
  Date.now = () => clock() + 60_000;
  await until('another tab leads', () => navigator.locks.stolen === 1);
  return tabs;
}

const three = [stream(hello('1.p'), live('1.p'))];

test('a gap that the next leader is told of is told in all tabs', async () => {
  const { url } = await serve(...three, stream(hello('9.q', '"resumed":"gap","reason":"other_history"'), live('9.q'), event(2)));
  const [, leader, other] = await robbed(url);
  await until('both have the event', () => leader.ids.length === 1 && other.ids.length === 1);
  assert.deepEqual([leader.via, other.via], ['stream', 'tab']);
  assert.deepEqual([leader.gaps, other.gaps], [['other_history'], ['other_history']]);
});

test('tabs learn from the one that leads how often the heart of the server beats', async () => {
  const saying = hello('1.p', '"resumed":true,"heartbeat":50') + live('1.p');
  const { url } = await serve(stream(saying));
  const tabs = [open(url, { share: true })];
  await until('the first is live', () => tabs[0].state === 'live');
  tabs.push(open(url, { share: true }));
  await until('both are live', () => tabs[1].state === 'live');
  navigator.locks.hangs = true;
  still.add(0);
  await until('the other has taken the lead', () => navigator.locks.stolen > 0);
});

test('a leader that can not connect keeps the lead', async () => {
  const { url } = await serve(...three, status(503, { 'Retry-After': '60' }));
  const [, leader] = await robbed(url);
  let beats = 0;
  const ear = new BroadcastChannel(channels[0].name);
  ear.onmessage = ({ data }) => {
    if (data.kind === 'beat' && ++beats > 1) ticks[2](); // it has heard the first
  };
  await until('the others have looked', () => beats > 5 && leader.state === 'waiting');
  ear.close();
  assert.equal(navigator.locks.stolen, 1);
});

test('closed while its part loads, a tab holds no connection', async () => {
  const go = late('tabs');
  let connections = 0;
  const { url } = await serve((response) => {
    connections++;
    response.on('close', () => connections--);
    begin(response, hello('0.p'), live('0.p'));
  });
  const tab = open(url, { share: true });
  await new Promise((done) => setTimeout(done, 20));
  tab.close();
  go();
  await new Promise((done) => setTimeout(done, 300));
  assert.equal(connections, 0);
});
