import { act, createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { mount, unmount } from 'svelte';
import { createApp, h, nextTick, ref } from 'vue';
import { expect, test } from 'vitest';
import { useOutcrier as useReact } from '../../src/react.js';
import { fakeConnect } from '../../src/testing.js';
import { useOutcrier as useVue } from '../../src/vue.js';
import Component from './Component.svelte';
import { pages } from './setup.js';

pages({ test, expect });

const place = () => document.body.appendChild(document.createElement('div'));

test('React: a stream for as long as the component is there', async () => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
  const { connect, streams } = fakeConnect();
  const got = [];
  function Orders({ topic, name }) {
    const { state } = useReact('/events', { topics: [topic], connect }, { 'order.*': ({ data }) => got.push([name, data]) });
    return createElement('p', null, state);
  }
  const element = place();
  const root = createRoot(element);
  await act(() => root.render(createElement(Orders, { topic: 'a', name: 'first' })));
  const [stream] = streams;
  await act(() => stream.give({ type: 'order.filled', data: 1 }));
  expect(element.textContent).toBe('live');
  await act(() => root.render(createElement(Orders, { topic: 'b', name: 'second' })));
  expect([streams.length, stream.topics]).toEqual([1, ['b']]);
  await act(() => stream.give({ type: 'order.filled', data: 2 }));
  expect(got).toEqual([['first', 1], ['second', 2]]);
  await act(() => root.unmount());
  expect(stream.state).toBe('closed');
});

test('Vue: a stream for as long as the component is there', async () => {
  const { connect, streams } = fakeConnect();
  const got = [];
  const topic = ref('a');
  const app = createApp({
    setup() {
      const change = useVue('/events', { topics: () => [topic.value], connect }, { 'order.*': ({ data }) => got.push(data) });
      return () => h('p', change.value.state);
    },
  });
  const element = place();
  app.mount(element);
  const [stream] = streams;
  stream.give({ type: 'order.filled', data: 1 });
  topic.value = 'b';
  await nextTick();
  expect([element.textContent, streams.length, stream.topics, got]).toEqual(['live', 1, ['b'], [1]]);
  app.unmount();
  expect(stream.state).toBe('closed');
});

test('Svelte: a stream for as long as the component is there', async () => {
  const { connect, streams } = fakeConnect();
  const got = [];
  const element = place();
  const component = mount(Component, { target: element, props: { connect, give: (data) => got.push(data) } });
  await new Promise((resolve) => setTimeout(resolve));
  const [stream] = streams;
  stream.give({ type: 'order.filled', data: 1 });
  await new Promise((resolve) => setTimeout(resolve));
  expect([element.textContent, got]).toEqual(['live', [1]]);
  component.follow('b');
  expect(stream.topics).toEqual(['b']);
  await unmount(component);
  expect(stream.state).toBe('closed');
});
