import type { AnyEvents, Gap, Goodbye, Options, OutcrierEvent, Refused, StateChange, Stream } from './outcrier.js';

/** A stream without a server, which a test plays. Listeners, topics and `close` are as of `connect`'s. */
export interface FakeStream<Events = AnyEvents> extends Stream<Events> {
  /** What is followed at present. */
  readonly topics: readonly string[];
  readonly url: string;
  readonly options: Options;
  /**
   * Gives an event, if its topic is followed; by default it is of the first topic. Returns it as the listeners got it,
   * or undefined.
   */
  give<T extends keyof Events & string>(event: Partial<Omit<OutcrierEvent, 'type' | 'data'>> & { type: T; data?: Events[T] }): OutcrierEvent<Events[T], T> | undefined;
  /** Changes the state, `live` by default. */
  become(state?: StateChange['state'], why?: Partial<StateChange>): void;
  gap(gap?: Partial<Gap>): void;
  goodbye(reason?: Goodbye['reason']): void;
  /** Refuses a topic, as a server does that does not grant it. */
  refuse(topic: string, why?: Partial<Refused>): void;
}

/** A stream as `connect` would return it. */
export function fakeStream<Events = AnyEvents>(url?: string | URL, options?: Options): FakeStream<Events>;

/** A `connect` that opens fake streams, and lists those that it has opened. */
export function fakeConnect<Events = AnyEvents>(): {
  connect: (url: string | URL, options?: Options) => FakeStream<Events>;
  streams: FakeStream<Events>[];
};
