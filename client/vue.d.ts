import type { MaybeRefOrGetter, ShallowRef } from 'vue';
import type { HookOptions, Listeners } from './hooks.js';
import type { AnyEvents, StateChange } from './outcrier.js';

/** A stream for as long as the component is there. Topics may be a ref or a getter, and change. Returns the state. */
export function useOutcrier<Events = AnyEvents>(
  url: string | URL,
  options: Omit<HookOptions, 'topics'> & { topics?: MaybeRefOrGetter<string | readonly string[]> },
  listeners?: Listeners<NoInfer<Events>>,
): Readonly<ShallowRef<StateChange>>;
