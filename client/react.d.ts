import type { HookOptions, Listeners } from './hooks.js';
import type { AnyEvents, StateChange } from './outcrier.js';

/**
 * A stream for as long as the component is there. Topics may change from one rendering to
 * the next; any other option that does opens another stream. Returns the state.
 */
export function useOutcrier<Events = AnyEvents>(url: string | URL, options: HookOptions, listeners?: Listeners<NoInfer<Events>>): StateChange;
