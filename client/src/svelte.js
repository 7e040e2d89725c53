import { onMount } from 'svelte';
import { writable } from 'svelte/store';
import { beginning, follow } from './follow.js';

/** @type {typeof import('../svelte.d.ts').outcrier} */
export function outcrier(url, options, listeners = {}) {
  const { subscribe, set } = writable(beginning);
  /** @type {ReturnType<typeof follow> | undefined} */
  let here;
  // Not before: a page that is rendered on the server has no stream.
  onMount(() => {
    here = follow(url, options, () => /** @type {any} */ (listeners), set);
    return here.close;
  });
  return { subscribe, topics: (next) => here?.topics(next) };
}
