import type { AnyEvents, EventOf, Options, OwnEvents, Stream } from './outcrier.js';

/** Options of the hooks: those of `connect`. */
export interface HookOptions extends Options {
  /** Opens the stream: `connect` by default; in tests that of `outcrier/testing`. */
  connect?: (url: string | URL, options?: Options) => Stream<any>;
}

type OwnListeners = { [T in keyof OwnEvents]?: (event: OwnEvents[T]) => void };

interface AnyListeners extends OwnListeners {
  [type: string]: ((event: any) => void) | undefined;
}

/** Listeners by type of event, or pattern of types. The one of the last rendering is called. */
export type Listeners<Events = AnyEvents> = string extends keyof Events
  ? AnyListeners
  : OwnListeners & { [T in (keyof Events & string) | `${string}*`]?: (event: EventOf<Events, T>) => void };
