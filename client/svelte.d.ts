import type { Readable } from 'svelte/store';
import type { HookOptions, Listeners } from './hooks.js';
import type { AnyEvents, StateChange } from './outcrier.js';

/** A stream for as long as the component is there. Returns a store of the state, and a function to follow other topics. */
export function outcrier<Events = AnyEvents>(
  url: string | URL,
  options: HookOptions,
  listeners?: Listeners<NoInfer<Events>>,
): Readable<StateChange> & { topics(topics: string | readonly string[]): void };
