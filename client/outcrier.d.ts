/** An event as it was committed: a CloudEvents 1.0 object. */
export interface OutcrierEvent<Data = unknown, Type extends string = string> {
  specversion: '1.0';
  /** The event's id in the table, a whole number as text. */
  id: string;
  source: string;
  type: Type;
  topic: string;
  /** When it was appended, RFC 3339 in UTC with microseconds. */
  time: string;
  datacontenttype: 'application/json';
  /** The payload. */
  data: Data;
  /** Headers, as CloudEvents extensions: `traceparent` and the like. */
  [extension: string]: unknown;
}

/**
 * - `connecting`: on the way to a connection.
 * - `replaying`: connected, and given what was missed.
 * - `live`: given what happens, as it happens.
 * - `waiting`: something failed; `retryIn` says when the next attempt is.
 * - `offline`: as `waiting`, and the browser says that there is no network. The next
 *   attempt is when it says that there is.
 * - `idle`: there are no topics; `add` some.
 * - `closed`: for good, by `close()` or because the server refused.
 */
export type State = 'connecting' | 'replaying' | 'live' | 'waiting' | 'offline' | 'idle' | 'closed';

/** How events come: as a stream, by WebSocket, by long polls, or from another tab's connection. */
export type Via = 'stream' | 'websocket' | 'poll' | 'tab';

/** What `outcrier.state` tells: the state has changed, or how events come. */
export interface StateChange {
  state: State;
  /** `poll`, and `websocket` without having been asked for, mean that a proxy holds streams back, or that there are none here. */
  via: Via;
  /**
   * Why, of `waiting`, `offline` and `closed`: `unreachable` (no answer), `unavailable`
   * (an answer that is no stream, see `status`), `ended` (the stream did), `silent` (no
   * heartbeat came), `offline`, a goodbye's reason, `refused` (see `status` and `detail`),
   * `stopped` (204), `closed` (by `close()`).
   */
  reason?: string;
  /** HTTP status of the answer, where there was one. */
  status?: number;
  /** What the server, or the browser, says of it. */
  detail?: string;
  /** Milliseconds until the next attempt. */
  retryIn?: number;
}

/** What `outcrier.gap` tells: events are gone that can't be given any more. Fetch anew what the page shows. */
export interface Gap {
  /**
   * `trimmed` by retention; `other_history`, `ahead` or `malformed`: the position is not of
   * this database's history; `refused`: the past asked for with `from` (see `detail`).
   */
  reason: 'trimmed' | 'other_history' | 'ahead' | 'malformed' | 'refused' | (string & {});
  /** When the oldest event still held was appended, RFC 3339. */
  since?: string;
  detail?: string;
}

/** What `outcrier.goodbye` tells: the server is about to end the stream. The module comes back by itself. */
export interface Goodbye {
  reason: 'drain' | 'full' | 'too_many' | 'too_fast' | 'token_expired' | 'token_revoked' | 'key_withdrawn' | 'revoked' | 'keys_unavailable' | 'unavailable' | 'ended' | (string & {});
}

/** What `outcrier.refused` tells: the server refuses a topic. It is dropped, and the others go on. */
export interface Refused {
  topic: string;
  /** 403 for a topic that is not granted, 400 for one that is not well-formed or too many. */
  status?: number;
  detail?: string;
}

/** The module's own events. No event of the table has a type that begins with `outcrier.`. */
export interface OwnEvents {
  'outcrier.state': StateChange;
  /** The state has become `live`: all that was missed has been given. */
  'outcrier.live': StateChange;
  'outcrier.gap': Gap;
  'outcrier.goodbye': Goodbye;
  'outcrier.refused': Refused;
}

/**
 * Payloads by type of event, as `outcrier catalogue types` writes them from the catalogue:
 * `connect<Events>(…)` then knows the types, and what their events bring.
 */
export type AnyEvents = Record<string, any>;

/** The types of events that a pattern stands for. */
type Matching<Events, Pattern> = Pattern extends `${infer Start}*` ? Extract<keyof Events, `${Start}${string}`> & string : Pattern & keyof Events & string;

/** The events of a type, or of a pattern of types. */
export type EventOf<Events, Pattern> = string extends keyof Events
  ? OutcrierEvent<any>
  : { [Type in Matching<Events, Pattern>]: OutcrierEvent<Events[Type], Type> }[Matching<Events, Pattern>];

export interface Options {
  /** Topics to follow: exact, or with `*` for one segment, a final `**` for the rest. None by default: see `add`. */
  topics?: string | readonly string[];
  /** Only events of these types: exact, or with a final `*`. All by default. */
  types?: readonly string[];
  /**
   * Where to begin: `now` (default), `earliest`, the newest events as `last:50`, a position (as of SQL's
   * `outcrier.position()`, rendered into the page), an RFC 3339 time, or a duration back like `1h` or `7d`. A position that is
   * remembered wins, unless this one is a position that is later.
   */
  from?: string;
  /**
   * The bearer token, or a function that gets one. It is called before the first request, shortly before a JWT's
   * `exp`, and when the server refuses the token or says that it has expired. If it gives the refused one again,
   * the stream is closed. Without it the browser's cookies say who it is.
   */
  token?: string | null | (() => string | null | undefined | Promise<string | null | undefined>);
  /**
   * Keeps the position across page loads, in `sessionStorage` (so each tab goes on from its own) and `localStorage`
   * (for a new tab) under `outcrier:` and this name. Give each user a name of their own. It is kept with the address, the types and the
   * topics, so that pages that follow something else don't share it.
   */
  remember?: string;
  /**
   * One connection for all tabs of this origin that say the same here and ask the same address for the same types. They must be of the
   * same user: `true`, or a name per user. Without Web Locks (they need HTTPS or localhost) each tab has its own.
   */
  share?: boolean | string;
  /** As fetch's: `include` sends cookies to another origin too. */
  credentials?: RequestCredentials;
  /**
   * Milliseconds between the heartbeats (the server's setting `--heartbeat`) until the server says them in `outcrier.hello`,
   * 15000 by default. A stream that is silent for 1.5 of them is lost if a poll is
   * answered, or else after three times `patience` more.
   */
  heartbeat?: number;
  /** Milliseconds until the first byte of a stream, 5000 by default; then a poll finds out whether a proxy holds it back. */
  patience?: number;
  /**
   * What is tried first: `stream` (default), `websocket` or `poll`. If it doesn't get through, the others are; after five
   * minutes it is tried again.
   */
  transport?: 'stream' | 'websocket' | 'poll';
  retry?: Retry;
}

/** When a connection is tried again after a failure: after a random time up to `min`, then up to `factor` times that, and so on up to `max`. */
export interface Retry {
  /** Milliseconds, 1000 by default. */
  min?: number;
  /** Milliseconds, 30000 by default. */
  max?: number;
  /** 2 by default. */
  factor?: number;
  /** After so many failures, one after the other, the stream is closed with the reason of the last. Without limit by default. */
  attempts?: number;
}

export interface Stream<Events = AnyEvents> {
  readonly state: State;
  readonly via: Via;
  /** After all that was given so far; opaque. As `from` of another stream it goes on there. */
  readonly position: string | undefined;
  /**
   * Calls the listener with each event of a type: exact, with a final `*`, or `*` for all of the table's. Returns what
   * takes it off again. Listeners are called in the order in which they came, and what one throws concerns no other.
   */
  on<T extends keyof OwnEvents>(type: T, listener: (event: OwnEvents[T]) => void): () => void;
  on<T extends (keyof Events & string) | `${string}*`>(type: T, listener: (event: EventOf<Events, T>) => void): () => void;
  /** As `on`, for one event. */
  once<T extends keyof OwnEvents>(type: T, listener: (event: OwnEvents[T]) => void): () => void;
  once<T extends (keyof Events & string) | `${string}*`>(type: T, listener: (event: EventOf<Events, T>) => void): () => void;
  /** Takes off a listener, or all of a type, named as they were named to `on`. */
  off(type: string, listener?: (event: any) => void): void;
  /** Takes off all listeners. */
  clear(): void;
  /** Follows more topics, from now on or from where `from` says. The others lose and repeat nothing. One that is refused is told by `outcrier.refused`. */
  add(topics: string | readonly string[], options?: { from?: string }): void;
  /** Follows topics no more, at once. They are named as they were asked for. */
  drop(topics: string | readonly string[]): void;
  /** Ends the stream for good. */
  close(): void;
}

/**
 * Opens a stream. `url` is that of `/events`, relative to the page; outside of pages it has to be whole. It never throws:
 * what is wrong is told by `outcrier.state`.
 */
export function connect<Events = AnyEvents>(url: string | URL, options?: Options): Stream<Events>;

/** Reads Server-Sent Events out of text that comes in pieces; what `connect` reads streams with. */
export function parser(
  dispatch: (event: { type: string; data: string; id: string }) => void,
  retry: (milliseconds: number) => void,
): (text: string) => void;
