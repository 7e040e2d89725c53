// What the module's tests share: the page that it runs in, servers that answer by a
// script, and streams that keep what they gave.
import http from 'node:http';
import { afterEach } from 'node:test';
import { parts } from '../src/parts.js';

// What the module takes from a page.
globalThis.location = { href: 'http://localhost/' };
Object.defineProperty(globalThis, 'navigator', { value: { onLine: true }, configurable: true });
export const happenings = new EventTarget();
globalThis.addEventListener = happenings.addEventListener.bind(happenings);
export const reported = [];
const { queueMicrotask } = globalThis;
globalThis.queueMicrotask = (task) => queueMicrotask(() => {
  try {
    task();
  } catch (error) {
    reported.push(error.message);
  }
});

export const { connect, parser } = await import(process.env.OUTCRIER_MODULE ?? '../src/outcrier.js');

// serve answers requests by a script: the nth by its nth function, all others by the last.
// The polls by which the module finds out what gets through are not counted; by default they
// are answered.
const servers = [];
export async function serve(...script) {
  const { probe = page('0.p') } = typeof script[0] === 'object' ? script.shift() : {};
  const asked = [];
  const upgrade = script.at(-1)?.length === 3 && script.pop(); // answers WebSockets
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost');
    const query = Object.fromEntries(url.searchParams);
    if (query.limit === '1') return probe(response);
    asked.push({ ...query, topics: url.searchParams.getAll('topic'), token: request.headers.authorization, accept: request.headers.accept, at: Date.now() });
    script[Math.min(asked.length, script.length) - 1](response, asked.at(-1));
  });
  if (upgrade) server.on('upgrade', upgrade);
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  servers.push(server);
  return { asked, url: `http://127.0.0.1:${server.address().port}/events` };
}

const streams = [];
export function open(url, options) {
  const stream = connect(url, { topics: ['a'], ...options });
  stream.ids = [];
  stream.states = [];
  stream.gaps = [];
  stream.on('*', ({ id }) => stream.ids.push(id));
  stream.on('outcrier.state', (change) => stream.states.push(change));
  stream.on('outcrier.gap', ({ reason }) => stream.gaps.push(reason));
  streams.push(stream);
  return stream;
}

afterEach(() => {
  for (const stream of streams.splice(0)) stream.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

// late has a part of the module load only once what it returns is called. The module as nodes
// serve it has parts of its own, which it does not hold up.
const early = [];
export function late(name) {
  const load = parts[name];
  early.push(() => (parts[name] = load));
  let go;
  const gate = new Promise((resolve) => (go = resolve));
  parts[name] = () => gate.then(load);
  return go;
}
afterEach(() => early.splice(0).forEach((undo) => undo()));

// until looks less often the longer it has waited: to look is work too.
export async function until(what, is) {
  for (const began = performance.now(); !is(); ) {
    const waited = performance.now() - began; // the tests set Date.now
    if (waited > 60_000) throw new Error(`not within a minute: ${what}`);
    await new Promise((done) => setTimeout(done, Math.min(Math.max(waited / 8, 5), 100)));
  }
}

export const event = (id, topic = 'a', type = 'test.added') => `event: ${type}\ndata: ${JSON.stringify({ id: `${id}`, topic, type, data: {} })}\nid: ${id}.p\n\n`;
export const hello = (position, more = '"resumed":false') => `: outcrier\nevent: outcrier.hello\nretry: 20\ndata: {${more},"position":"${position}"}\nid: ${position}\n\n`;
export const live = (position) => `event: outcrier.live\ndata: {}\nid: ${position}\n\n`;
export const begin = (response, ...text) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
  response.write(text.join(''));
};
export const stream = (...text) => (response) => begin(response, ...text);
export const ended = (...text) => (response) => {
  begin(response, ...text);
  response.end();
};
export const status = (code, headers = {}, body = '') => (response) => response.writeHead(code, headers).end(body);
export const page = (position, ...ids) => (response) =>
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ events: ids.map((id) => ({ id: `${id}`, topic: 'a', type: 't' })), position, gap: null }));
