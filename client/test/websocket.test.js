// Runs under node's test runner: the WebSocket transport, against a server of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { hello, live, open, page, serve, status, stream, until } from './testkit.js';

globalThis.WebSocket ??= WebSocket; // Node 20 has none

const event = (id, topic = 'a', type = 'test.added') => ({ position: `${id}.p`, event: { specversion: '1.0', id: `${id}`, source: '/', type, topic, data: {} } });
const own = (type, data = {}, position = undefined) => ({ position, event: { type: `outcrier.${type}`, data } });
const greeting = (position, more = {}) => own('hello', { resumed: false, position, heartbeat: 15_000, retry: 20, ...more }, position);

// sockets answers upgrades of a server by a script: the nth by its nth function.
async function sockets(http, ...script) {
  const sockets = [];
  const server = new WebSocketServer({ noServer: true, handleProtocols: () => 'outcrier' });
  const { asked, url } = await serve(...http, (request, socket, head) => {
    const { searchParams } = new URL(request.url, 'http://localhost');
    const answer = script[Math.min(sockets.length, script.length - 1)];
    const one = { topics: searchParams.getAll('topic'), last: searchParams.get('last_event_id'), protocols: request.headers['sec-websocket-protocol'], sent: [] };
    sockets.push(one);
    if (!answer) return socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    server.handleUpgrade(request, socket, head, (ws) => {
      one.ws = ws;
      one.say = (...all) => all.forEach((message) => ws.send(JSON.stringify(message)));
      ws.on('message', (data) => {
        const message = JSON.parse(data);
        one.sent.push(message);
        one.changed?.(message);
      });
      answer(one);
    });
  });
  return { asked, url, sockets };
}

const refusesAll = [status(403, {}, '{}')];

test('websocket: the token goes with the protocols, and it goes on from its position', async () => {
  const { url, sockets: seen, asked } = await sockets(
    refusesAll,
    ({ say, ws }) => { say(greeting('0.p'), own('live', {}, '0.p'), event(1), event(2)); ws.close(); },
    ({ say }) => say(greeting('2.p', { resumed: true }), event(2), event(3), own('live', {}, '3.p')),
  );
  const s = open(url, { transport: 'websocket', token: 'e30.e30.x' });
  await until('three events', () => s.ids.length === 3 && s.state === 'live');
  assert.deepEqual(s.ids, ['1', '2', '3']);
  assert.deepEqual(seen.map(({ topics, last, protocols }) => [topics, last, protocols]), [[['a'], null, 'outcrier,bearer.e30.e30.x'], [['a'], '2.p', 'outcrier,bearer.e30.e30.x']].map(([t, l, p]) => [t, l, p]));
  assert.deepEqual([s.via, asked.length], ['websocket', 0]);
  assert.deepEqual(s.states.map(({ state }) => state), ['connecting', 'replaying', 'live', 'waiting', 'connecting', 'replaying', 'live']);
});

test('websocket: topics change without a request', async () => {
  const { url, sockets: seen, asked } = await sockets([status(403)], (one) => {
    one.say(greeting('0.p'), own('live', {}, '0.p'));
    one.changed = ({ add = [] }) => {
      if (add.includes('secret')) one.say({ event: { type: 'outcrier.error', data: { status: 403, detail: 'topic "secret" is not granted', topic: 'secret' } } });
      one.say(own('topics', { topics: [] }, '5.p'), event(6, 'b'), event(7, 'a'));
    };
  });
  const s = open(url, { transport: 'websocket' });
  const refused = [];
  s.on('outcrier.refused', (why) => refused.push(why));
  await until('live', () => s.state === 'live');
  s.add(['b', 'secret']);
  await until('both have come', () => s.ids.length === 2);
  assert.deepEqual(refused, [{ topic: 'secret', status: 403, detail: 'topic "secret" is not granted' }]);
  s.drop('a');
  await until('told so', () => seen[0].sent.some(({ drop }) => drop?.includes('a')));
  assert.deepEqual(seen[0].sent[0], { add: ['b', 'secret'], drop: [] });
  assert.deepEqual([seen.length, asked.length, s.state], [1, 0, 'live']);
});

test('websocket: the past of an added topic is given up to where it joined', async () => {
  const { url, asked } = await sockets([page('3.p', 2, 3), page('5.p', 4)], (one) => {
    one.say(greeting('0.p'), own('live', {}, '0.p'));
    one.changed = () => one.say(own('topics', { topics: ['b', 'a'] }, '5.p'), event(6, 'a'));
  });
  const s = open(url, { transport: 'websocket', topics: ['b'] });
  await until('live', () => s.state === 'live');
  s.add('a', { from: 'earliest' });
  await until('four events', () => s.ids.length === 4);
  assert.deepEqual(s.ids, ['2', '3', '4', '6']);
  assert.equal(s.state, 'live');
  assert.deepEqual(asked.map(({ topics, from, until, last_event_id }) => [topics, from, until, last_event_id]), [[['a'], 'earliest', '5.p', undefined], [['a'], undefined, '5.p', '3.p']]);
});

test('websocket: where it is refused a poll says why; where it gets through nowhere, a stream is next', async () => {
  const refusing = await sockets([{ probe: status(403, {}, '{"detail":"not granted"}') }, status(500)]);
  const refused = open(refusing.url, { transport: 'websocket' });
  await until('closed', () => refused.state === 'closed');
  const { reason, status: code, detail } = refused.states.at(-1);
  assert.deepEqual([reason, code, detail], ['refused', 403, 'not granted']);

  const deaf = await sockets([stream(hello('0.p'), live('0.p'))]);
  const s = open(deaf.url, { transport: 'websocket' });
  await until('live', () => s.state === 'live');
  assert.deepEqual([s.via, deaf.sockets.length], ['stream', 1]);
  assert.deepEqual(s.states.map(({ state }) => state), ['connecting', 'connecting', 'replaying', 'live']);
});

test('websocket: by itself where a stream is held back', async () => {
  const { url, asked } = await sockets([() => {}], ({ say }) => say(greeting('0.p'), own('live', {}, '0.p'), event(1)));
  const s = open(url, { patience: 900 });
  await until('an event', () => s.ids.length === 1);
  assert.deepEqual([s.via, asked.length], ['websocket', 1]);
});

test('websocket: a goodbye before hello, and silence', async () => {
  const { url, sockets: seen } = await sockets(
    refusesAll,
    ({ say, ws }) => { say(own('goodbye', { reason: 'drain', retry: 30 })); ws.close(1001, 'drain'); },
    ({ say }) => say(greeting('0.p', { heartbeat: 60 }), own('live', {}, '0.p')),
    ({ say }) => say(greeting('0.p'), own('live', {}, '0.p'), event(1)),
  );
  const s = open(url, { transport: 'websocket' });
  await until('an event', () => s.ids.length === 1);
  assert.equal(seen.length, 3);
  assert.deepEqual(s.states.filter(({ state }) => state === 'waiting').map(({ reason }) => reason), ['drain', 'silent']);
});

