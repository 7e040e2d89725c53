// Runs under node's test runner: what of the module needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../src/outcrier.js';
import { part, parts } from '../src/parts.js';
import { begin, ended, event, happenings, hello, late, live, open, page, parser, reported, serve, status, stream, until } from './testkit.js';

// read gives what a parser makes of pieces, with the delays that it was told.
function read(pieces) {
  const told = [];
  const feed = parser((event) => told.push(event), (ms) => told.push(ms));
  for (const piece of pieces) feed(piece);
  return told;
}

const message = (data, id = '', type = 'message') => ({ type, data, id });

test('parser: the hard cases of the standard', () => {
  for (const [name, text, want] of [
    ['of the standard, 9.2.6: two lines', 'data: YHOO\ndata: +2\ndata: 10\n\n', [message('YHOO\n+2\n10')]],
    ['of the standard: comment, ids, no space', ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
      [message('first event', '1'), message('second event', ''), message(' third event', '')]],
    ['of the standard: empty data, and none', 'data\n\ndata\ndata\n\ndata:', [message(''), message('\n')]],
    ['of the standard: one space is dropped', 'data:test\n\ndata: test\n\n', [message('test'), message('test')]],
    ['all line ends', 'data: a\rdata: b\r\ndata: c\n\r\n', [message('a\nb\nc')]],
    ['CR CR ends an event', 'data: a\r\rdata: b\r\r', [message('a'), message('b')]],
    ['an id with NUL is ignored', 'id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n', [message('a', '1'), message('b', '1')]],
    ['an id without data stays', 'id: 7\n\ndata: a\n\n', [message('a', '7')]],
    ['a type is for one event', 'event: t\ndata: a\n\ndata: b\n\n', [message('a', '', 't'), message('b')]],
    ['a type without data is no event', 'event: t\n\ndata: b\n\n', [message('b')]],
    ['colons in a value', 'data: a: b:c\nevent:: d\n\n', [message('a: b:c', '', ': d')]],
    ['unknown fields, and comments', 'dat: a\nData: b\n:data: c\n data: d\ndata: e\n\n', [message('e')]],
    ['retry, digits only', 'retry: 300\nretry: 3s\nretry: -1\nretry:\nretry: 1.5\nretry: 07\n\n', [300, 7]],
    ['an event that is not over is none', 'data: a\n\ndata: lost\nid: 3\n', [message('a')]],
    ['line separators of Unicode are none', 'data: a\u2028b\u2029c\u0085d\n\n', [message('a\u2028b\u2029c\u0085d')]],
    ['a BOM within', 'data: \ufeffa\n\ufeffdata: b\n\n', [message('\ufeffa')]],
  ]) {
    assert.deepEqual(read([text]), want, name);
    assert.deepEqual(read([...text]), want, `${name}, cut everywhere`);
    for (let cut = 1; cut < text.length; cut++) {
      assert.deepEqual(read([text.slice(0, cut), '', text.slice(cut)]), want, `${name}, cut at ${cut}`);
    }
  }
});

test('parser: an event is given with its last line end, not with what follows', () => {
  for (const end of ['\n\n', '\r\r', '\r\n\r\n', '\r\n\r']) assert.equal(read(['data: a', end]).length, 1, JSON.stringify(end));
});

test('a part that failed to load is asked for again, under another address if the browser names it', async () => {
  // Node.js loads nothing by http: the error says that it tried.
  const load = part(() => Promise.reject(new TypeError('error loading dynamically imported module: http://127.0.0.1:1/a.js')));
  await assert.rejects(load);
  await assert.rejects(load, { code: 'ERR_UNSUPPORTED_ESM_URL_SCHEME' });
  // What webpack names is no module.
  const chunk = part(() => Promise.reject(new Error('Loading chunk 5 failed.\n(error: http://127.0.0.1:1/5.js)')));
  await assert.rejects(chunk);
  await assert.rejects(chunk, /Loading chunk/);
  // Each failure names the address that it was asked under: it does not grow with them.
  const named = 'error loading dynamically imported module: ';
  const away = part(() => Promise.reject(new TypeError(`${named}data:text/javascript,throw%20Error('${named.replaceAll(' ', '%20')}'+import.meta.url)//`)));
  for (let failures = 0; failures < 3; failures++) await assert.rejects(away);
  await assert.rejects(away, ({ message }) => message.startsWith(named) && message.split('?').length === 2);
  let asked = 0;
  const other = part(async () => { if (!asked++) throw new Error('gone'); return 'it'; });
  await assert.rejects(other);
  assert.equal(await other(), 'it');
});

test('a part that does not come is one that failed: the state says so, and it is asked for again', async () => {
  const { memory } = parts;
  const { timeout } = AbortSignal;
  let asked = 0;
  parts.memory = part(() => (asked++ ? memory() : new Promise(() => {})));
  AbortSignal.timeout = (ms) => timeout.call(AbortSignal, asked > 1 ? ms : 1);
  const { url } = await serve(stream(hello('0.p'), live('0.p')));
  const s = connect(url, { topics: ['a'], remember: 'me', retry: { min: 1 } });
  try {
    const states = [];
    s.on('outcrier.state', ({ state, reason, detail }) => states.push([state, reason, detail]));
    await until('live', () => s.state === 'live');
    assert.deepEqual(states[0], ['waiting', 'unreachable', 'a part of the module did not load within 20 s']);
    assert.equal(asked, 2);
  } finally {
    s.close();
    parts.memory = memory;
    AbortSignal.timeout = timeout;
  }
});

test('goes on from its position, and drops what it had', async () => {
  const { asked, url } = await serve(ended(hello('0.p'), event(1), event(2), live('2.p')), stream(hello('2.p', '"resumed":true'), event(2), event(3), live('3.p')));
  const s = open(url, { from: '1h' });
  await until('three events', () => s.ids.length === 3);
  assert.deepEqual(s.ids, ['1', '2', '3']);
  assert.deepEqual([asked[0].from, asked[0].last_event_id], ['1h', undefined]);
  assert.deepEqual([asked[1].from, asked[1].last_event_id], [undefined, '2.p']);
  await until('live', () => s.state === 'live');
  assert.equal(s.position, '3.p');
});

test('characters that are cut in two on the way arrive whole', async () => {
  const text = 'déjà vu, 你好, 👩‍🚀';
  const bytes = Buffer.from(hello('0.p') + event(1).replace('{}', JSON.stringify(text)) + live('1.p'));
  const { url } = await serve(async (response) => {
    begin(response);
    for (const byte of bytes) {
      response.write(Buffer.of(byte)); // each is a chunk
      await new Promise(setImmediate);
    }
  });
  const s = open(url);
  const got = [];
  s.on('*', ({ data }) => got.push(data));
  await until('live', () => s.state === 'live');
  assert.deepEqual(got, [text]);
});

test('remembers a bounded number of ids', async () => {
  const many = Array.from({ length: 5000 }, (_, i) => event(i)).join('');
  const { url } = await serve(stream(hello('0.p'), many, event(4999), event(0), live('0.p')));
  const s = open(url);
  await until('live', () => s.state === 'live');
  assert.equal(s.ids.length, 5001); // 0 is forgotten, 4999 is not
});

test('on, once, off, clear; what one listener throws concerns no other', async () => {
  const { url } = await serve(stream(hello('0.p'), event(1, 'a', 'user.in'), event(2, 'a', 'user.out'), event(3, 'a', 'trade.done'), live('3.p')));
  const s = open(url);
  const got = [];
  s.on('user.in', () => { throw new Error('mine'); });
  s.on('user.in', ({ id }) => got.push(`in ${id}`));
  s.on('user.*', ({ id }) => got.push(`user ${id}`));
  s.once('*', ({ id }) => got.push(`once ${id}`));
  s.on('*', () => got.push('never'))();
  const off = () => got.push('off');
  s.on('trade.done', off);
  s.on('trade.done', () => got.push('off too'));
  s.off('trade.done', off);
  s.off('trade.done');
  await until('live', () => s.state === 'live');
  assert.deepEqual(got, ['in 1', 'user 1', 'once 1', 'user 2']);
  assert.deepEqual(reported, ['mine']);
  s.clear();
  s.close();
  assert.equal(s.state, 'closed');
  assert.equal(s.states.at(-1).state, 'live');
});

test('a listener that closes the stream gets nothing more', async () => {
  const { url } = await serve(stream(hello('0.p'), event(1), event(2)));
  const s = open(url);
  s.on('*', () => s.close());
  await until('closed', () => s.state === 'closed');
  assert.deepEqual(s.ids, ['1']);
  assert.equal(s.position, '1.p');
});

test('a gap is told, and its ids may be those of others', async () => {
  const { url } = await serve(ended(hello('0.p'), event(1)), stream(hello('9.q', '"resumed":"gap","reason":"other_history","since":"2026-11-22T02:00:00Z"'), event(1), live('1.q')));
  const s = open(url);
  await until('live', () => s.state === 'live');
  assert.deepEqual([s.gaps, s.ids], [['other_history'], ['1', '1']]);
});

test('refused tokens: another one is asked for, the same one is final', async () => {
  const { asked, url } = await serve(status(401, { 'Content-Type': 'application/problem+json' }, '{"detail":"the token is not good"}'), stream(hello('0.p'), live('0.p')));
  let n = 0;
  const s = open(url, { token: async () => `token-${++n}` });
  await until('live', () => s.state === 'live');
  assert.deepEqual(asked.map(({ token }) => token), ['Bearer token-1', 'Bearer token-2']);

  const other = await serve(status(403, {}, '{"detail":"topic \\"a\\" is not granted"}'));
  const refused = open(other.url, { token: 'the same' });
  await until('closed', () => refused.state === 'closed');
  const { reason, status: code, detail } = refused.states.at(-1);
  assert.deepEqual([reason, code, detail, other.asked.length], ['refused', 403, 'topic "a" is not granted', 1]);
});

// minter gives a function that gives a new token each time, by a clock that is right.
const clock = Date.now;
function minter(seconds, more = () => ({ iat: Math.floor(clock() / 1000) })) {
  return () => `e30.${btoa(JSON.stringify({ exp: Math.floor(clock() / 1000) + seconds, ...more(), nonce: Math.random() }))}.x`;
}

test('a token is renewed before it expires', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), live('0.p')));
  const s = open(url, { token: minter(4) });
  await until('a second token', () => asked.length === 2);
  assert.notEqual(asked[0].token, asked[1].token);
  assert.ok(asked[1].at - asked[0].at < 4000);
  assert.equal(asked[1].last_event_id, '0.p');
  assert.deepEqual(s.states.map(({ state }) => state), ['replaying', 'live']);
});

test('a clock that is ahead or behind: tokens are renewed as by one that is right, or when the server says', async () => {
  // A stream with one event, after two ticks.
  const late = (response) => {
    begin(response, hello('0.p'), live('0.p'));
    setTimeout(() => response.write(event(1)), 2500);
  };
  try {
    for (const wrong of [3_600_000, -3_600_000]) {
      Date.now = () => clock() + wrong;
      const short = await serve(stream(hello('0.p'), live('0.p')));
      const long = await serve(late);
      const old = await serve(late);
      const mint = minter(4);
      const minted = [];
      const token = () => {
        minted.push(clock());
        return mint();
      };
      open(short.url, { token });
      const patience = 60_000; // on a busy machine a stream that is late is no matter of tokens
      const tabs = [open(long.url, { patience, token: minter(600) }), open(old.url, { patience, token: minter(600, () => ({})) })];
      await until('events of those whose tokens are good', () => tabs.every(({ ids }) => ids.length === 1));
      await until('a second token', () => minted.length > 1 && short.asked.length > 1);
      assert.ok(minted[1] - minted[0] > 1500); // not with the first tick
      assert.deepEqual([long.asked.length, old.asked.length], [1, 1], 'streams go on with the tokens that they have');
    }
  } finally {
    Date.now = clock;
  }
});

test('a token that takes longer than the patience with streams', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), live('0.p')));
  const s = open(url, { patience: 900, token: () => new Promise((give) => setTimeout(give, 1500, 'signed in')) });
  await until('live', () => s.state === 'live');
  assert.deepEqual([s.via, asked.map(({ token }) => token)], ['stream', ['Bearer signed in']]);
  assert.deepEqual(s.states.map(({ state }) => state), ['replaying', 'live']);
});

test('goodbyes: comes back after the time that it was told', async () => {
  const { asked, url } = await serve(ended('event: outcrier.goodbye\nretry: 150\ndata: {"reason":"drain"}\n\n'), stream(hello('0.p'), live('0.p')));
  const s = open(url);
  await until('live', () => s.state === 'live');
  assert.ok(asked[1].at - asked[0].at >= 145);
  assert.deepEqual(s.states.map(({ state, reason }) => `${state} ${reason ?? ''}`.trim()), ['waiting drain', 'connecting', 'replaying', 'live']);
});

test('a stream that breaks: comes back when the server said, and not with all others at once', async () => {
  const broken = (text) => (response) => {
    begin(response, text);
    setTimeout(() => response.destroy(), 20);
  };
  const { asked, url } = await serve(broken(hello('0.p').replace('retry: 20', 'retry: 2') + live('0.p')), broken(':\n'), stream(hello('0.p'), live('0.p')));
  const random = Math.random;
  Math.random = () => 0.1;
  try {
    const s = open(url);
    await until('live again', () => s.state === 'live' && asked.length === 3);
    const waited = s.states.filter(({ state }) => state === 'waiting');
    assert.deepEqual(waited.map(({ reason, retryIn }) => [reason, retryIn]), [['ended', 2], ['ended', 200]]);
  } finally {
    Math.random = random;
  }
});

test('failures: full jitter, twice as long each time, and Retry-After', async () => {
  const { url } = await serve(status(502), status(503, { 'Retry-After': '1' }), status(502));
  const random = Math.random;
  Math.random = () => 0.5;
  try {
    const s = open(url);
    await until('three failures', () => s.states.filter(({ state }) => state === 'waiting').length === 3);
    assert.deepEqual(s.states.filter(({ state }) => state === 'waiting').map(({ retryIn }) => retryIn), [500, 1500, 2000]);
  } finally {
    Math.random = random;
  }
});

test('what is final: 204 and what the client did wrong', async () => {
  for (const [code, reason] of [[204, 'stopped'], [400, 'refused'], [405, 'refused'], [414, 'refused']]) {
    const { asked, url } = await serve(status(code));
    const s = open(url);
    await until('closed', () => s.state === 'closed');
    assert.deepEqual([s.states.at(-1).reason, s.states.at(-1).status, asked.length], [reason, code, 1]);
  }
});

test('silence: a stream without a first byte becomes polls, one without a heartbeat comes back', async () => {
  const nothing = () => {};
  const { asked, url } = await serve(nothing, page('1.p', 1), page('2.p', 2), nothing);
  const s = open(url, { patience: 900, from: 'earliest' });
  await until('two events', () => s.ids.length === 2);
  assert.deepEqual(asked.slice(0, 3).map(({ accept }) => accept), ['text/event-stream', 'application/json', 'application/json']);
  assert.deepEqual(asked.slice(1, 3).map(({ from, last_event_id, wait }) => [from, last_event_id, wait]), [['earliest', undefined, '0s'], [undefined, '1.p', '25s']]);
  assert.deepEqual([s.state, s.via], ['live', 'poll']);

  const other = await serve(stream(hello('0.p'), live('0.p')), stream(hello('0.p'), live('0.p'), event(1)));
  const quiet = open(other.url, { heartbeat: 100 });
  await until('an event', () => quiet.ids.length === 1);
  assert.ok(quiet.states.some(({ state, reason }) => state === 'waiting' && reason === 'silent'));
});

test('silence: the server says how often its heart beats', async () => {
  const saying = (ms) => hello('0.p', `"resumed":false,"heartbeat":${ms}`) + live('0.p');
  const often = await serve(stream(saying(100)), stream(saying(100), event(1)));
  const quick = open(often.url);
  await until('an event of the next stream', () => quick.ids.length === 1);
  assert.ok(quick.states.some(({ state, reason }) => state === 'waiting' && reason === 'silent'));

  const seldom = await serve((response) => {
    begin(response, saying(60_000));
    setTimeout(() => response.write(event(1)), 2500); // after two ticks
  });
  const patient = open(seldom.url, { heartbeat: 100 });
  await until('an event after a silence', () => patient.ids.length === 1);
  assert.equal(seldom.asked.length, 1);
});

test('topics: the new ones begin now, the kept ones miss nothing', async () => {
  const { asked, url } = await serve(
    stream(hello('0.p'), event(1), live('1.p')),
    stream(hello('1.p', '"resumed":true'), event(2), event(3, 'b'), live('3.p'), event(6, 'b')), // 3 was before
  );
  const s = open(url);
  await until('live', () => s.state === 'live');
  s.add(['b', 'a', 'c/*']);
  s.drop('c/*');
  await until('three events', () => s.ids.length === 3);
  assert.deepEqual(s.ids, ['1', '2', '6']);
  assert.deepEqual(asked.map(({ topics, last_event_id }) => [topics, last_event_id]), [[['a'], undefined], [['a', 'b'], '1.p']]);
  assert.deepEqual(s.states.map(({ state }) => state), ['replaying', 'live']);
});

test('topics: the past of a new one is given up to where it joined', async () => {
  const { asked, url } = await serve(
    stream(hello('0.p'), live('0.p')),
    stream(hello('5.p', '"resumed":true'), live('5.p'), event(6)),
    page('3.p', 2, 3),
    page('5.p', 4),
  );
  const s = open(url, { topics: ['b'] });
  await until('live', () => s.state === 'live');
  s.add('a', { from: 'earliest' });
  await until('four events', () => s.ids.length === 4);
  assert.deepEqual(s.ids, ['2', '3', '4', '6']);
  assert.deepEqual(asked.slice(2).map(({ topics, from, until, last_event_id }) => [topics, from, until, last_event_id]), [[['a'], 'earliest', '5.p', undefined], [['a'], undefined, '5.p', '3.p']]);
});

test('topics: what is followed already, or was dropped again, has no past to be asked for', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), live('0.p')), stream(hello('5.p', '"resumed":true'), live('5.p')), status(400));
  const s = open(url);
  await until('live', () => s.state === 'live');
  s.add('a', { from: '1h' });
  s.add(['b', 'c'], { from: '1h' });
  s.drop(['b', 'c']);
  s.add('b');
  await until('the two topics', () => asked.length === 2 && s.position === '5.p');
  assert.deepEqual(asked[1].topics, ['a', 'b']);
  s.add('d');
  await until('the next connection', () => asked.length === 3);
  assert.deepEqual(asked[2].topics, ['a', 'b', 'd']);
  assert.deepEqual(s.gaps, []);
});

test('topics: a text is one', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), live('0.p')), stream(hello('1.p'), live('1.p')));
  const s = open(url, { topics: 'orders' });
  await until('live', () => s.state === 'live');
  assert.deepEqual(asked[0].topics, ['orders']);
  s.add(['users', 'trades']);
  await until('all three', () => asked.length === 2);
  assert.deepEqual(asked[1].topics, ['orders', 'users', 'trades']);
});

test('online: what waits comes back at once, though the past is waited for too', async () => {
  const { random } = Math;
  Math.random = () => random() / 10;
  try {
    let past = 0;
    const unavailable = status(503, { 'Retry-After': '60' });
    const gone = (response, { until }) => {
      past += !!until;
      unavailable(response);
    };
    const { asked, url } = await serve(stream(hello('0.p'), live('0.p')), ended(hello('5.p'), live('5.p')), gone);
    const s = open(url, { topics: ['b'] });
    await until('live', () => s.state === 'live');
    s.add('a', { from: 'earliest' });
    const streams = () => asked.filter(({ accept }) => accept === 'text/event-stream').length;
    await until('the stream waits', () => streams() === 3);
    const before = past;
    await until('the past is waited for, again', () => past > before + 1);
    happenings.dispatchEvent(new Event('online'));
    await until('another attempt', () => streams() === 4);
  } finally {
    Math.random = random;
  }
});

test('a listener that closes the stream gets nothing more of the past, nor of what waited for it', async () => {
  for (const [last, want] of [['2', ['2']], ['4', ['2', '3', '4']], ['6', ['2', '3', '4', '6']]]) {
    const { url } = await serve(
      stream(hello('0.p'), live('0.p')),
      stream(hello('5.p', '"resumed":true'), live('5.p'), event(6), event(7), live('7.p')),
      page('3.p', 2, 3),
      page('5.p', 4),
    );
    const s = open(url, { topics: ['b'] });
    await until('live', () => s.state === 'live');
    s.add('a', { from: 'earliest' });
    s.on('*', ({ id }) => id === last && s.close());
    await until('closed', () => s.state === 'closed');
    await new Promise(setImmediate);
    assert.deepEqual([s.ids, s.state, s.states.at(-1).state], [want, 'closed', 'closed'], `closed with ${last}`);
    assert.equal(s.position, last === '6' ? '6.p' : '0.p');
  }
});

test('a listener that closes the stream at a gap', async () => {
  const { url } = await serve(stream(hello('9.q', '"resumed":"gap","reason":"ahead"'), live('9.q'), event(1)));
  const s = open(url, { from: '0.p' });
  s.on('outcrier.gap', () => s.close());
  await until('closed', () => s.state === 'closed');
  assert.deepEqual([s.position, s.states.at(-1).state, s.ids], [undefined, 'closed', []]);
});

test('without topics it waits for some', async () => {
  const { asked, url } = await serve(stream(hello('0.p'), event(1), live('1.p')));
  const s = open(url, { topics: [] });
  await until('idle', () => s.state === 'idle');
  assert.equal(asked.length, 0);
  s.add('a');
  await until('an event', () => s.ids.length === 1);
});

test('patterns: what covers which topic, where topics have changed', async () => {
  const topics = ['user/42', 'user/42/x', 'user/42/x/y', 'user/7', 'user', 'b/c/d', 'b/x/d', 'b/d'];
  for (const [pattern, want] of [
    ['**', topics], ['user/42/**', topics.slice(0, 3)], ['user/*', ['user/42', 'user/7']], ['user/42', ['user/42']], ['b/*/d', ['b/c/d', 'b/x/d']], ['*', ['user']], ['*/*/**', topics.filter((topic) => topic !== 'user')],
  ]) {
    const { url } = await serve(stream(hello('0.p'), ...topics.map((topic, i) => event(i, topic)), live('9.p')));
    const s = open(url, { topics: [pattern] });
    s.add('z');
    await until('live', () => s.state === 'live');
    assert.deepEqual(s.ids.map((id) => topics[id]), want, pattern);
  }
});

test('topics: one that is added before the first hello costs the others nothing', async () => {
  let answer;
  const { asked, url } = await serve((response) => (answer = response), stream(hello('2.p', '"resumed":true'), event(3), live('3.p')));
  const s = open(url);
  await until('asked', () => answer);
  s.add('b');
  begin(answer, hello('0.p'), live('0.p'), event(1), event(2, 'b')); // what this connection still brings
  await until('what came while nobody was away', () => asked.length === 2 && s.state === 'live');
  assert.deepEqual(asked[1].topics, ['a', 'b']);
  await until('live', () => s.ids.includes('3'));
});

test('topics: a stream that goes on until the part for changes is there gives nothing twice and loses nothing', async () => {
  const go = late('changes');
  let first;
  const { asked, url } = await serve((response) => { first = response; begin(response, hello('0.p'), live('0.p')); }, (response, { last_event_id }) => {
    begin(response, hello(last_event_id, '"resumed":true'), ...(last_event_id === '1.p' ? [] : [event(1)]), event(2), live('2.p'));
  });
  const s = open(url);
  await until('live', () => s.state === 'live');
  s.add('b');
  first.write(event(1));
  setTimeout(go, 50);
  await until('both', () => s.ids.length === 2);
  assert.deepEqual(s.ids, ['1', '2']);
  assert.deepEqual(asked.at(-1).topics, ['a', 'b']);
});
