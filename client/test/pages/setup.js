// What the tests of pages share: it is the same under Vitest and Jest.
import { connect } from '../../src/outcrier.js';
import { fakeConnect, fakeStream } from '../../src/testing.js';

export function pages({ test, expect }) {
  test('connect throws nowhere', async () => {
    for (const [url, options] of [
      ['/events', { topics: 'a', share: true, remember: 'me' }],
      ['http://127.0.0.1:9/events', { topics: ['a'], transport: 'websocket', token: async () => null }],
      ['http://[', {}],
    ]) {
      const stream = connect(url, options);
      stream.add('b');
      stream.drop('a');
      await new Promise((resolve) => setTimeout(resolve, 50));
      stream.close();
      expect(stream.state).toBe('closed');
    }
  });

  test('a fake stream gives events to those who follow their topics', () => {
    const stream = fakeStream('/events', { topics: ['user/42/**'] });
    const got = [];
    stream.on('audit.*', ({ type, data }) => got.push([type, data]));
    stream.once('*', ({ id, topic }) => got.push([id, topic]));
    stream.on('outcrier.state', ({ state }) => got.push(state));
    stream.on('outcrier.gap', ({ reason }) => got.push(reason));
    stream.on('outcrier.refused', ({ topic, status }) => got.push([topic, status]));
    expect(stream.give({ type: 'audit.approved', topic: 'user/7' })).toBe(undefined);
    expect(stream.give({ type: 'audit.approved', data: { submission: 7 } }).topic).toBe('user/42');
    stream.gap();
    stream.refuse('user/42/**');
    stream.close();
    expect(got).toEqual(['live', ['audit.approved', { submission: 7 }], ['2', 'user/42'], 'trimmed', ['user/42/**', 403], 'closed']);
  });

  test('a fake connect lists its streams', () => {
    const { connect, streams } = fakeConnect();
    connect('/events', { topics: 'a' }).add(['b']);
    expect(streams.map(({ url, topics }) => [url, topics])).toEqual([['/events', ['a', 'b']]]);
  });
}
