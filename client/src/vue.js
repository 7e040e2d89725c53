import { onBeforeUnmount, onMounted, readonly, shallowRef, toValue, watch } from 'vue';
import { beginning, follow } from './follow.js';

/** @type {typeof import('../vue.d.ts').useOutcrier} */
export function useOutcrier(url, { topics, ...options }, listeners = {}) {
  const change = shallowRef(beginning);
  /** @type {ReturnType<typeof follow> | undefined} */
  let here;
  // Not before: a page that is rendered on the server has no stream.
  onMounted(() => {
    here = follow(url, { ...options, topics: toValue(topics) }, () => /** @type {any} */ (listeners), (next) => { change.value = next; });
    watch(() => toValue(topics), (next) => here?.topics(next), { deep: true });
  });
  onBeforeUnmount(() => here?.close());
  return readonly(change);
}
