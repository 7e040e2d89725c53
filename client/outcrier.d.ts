/** An event as it was committed: a CloudEvents 1.0 object. */
export interface OutcrierEvent<Data = unknown> {
  specversion: '1.0';
  /** The event's id in the table, a whole number as text. */
  id: string;
  source: string;
  type: string;
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

/** How events come: as a stream, by long polls, or from another tab's connection. */
export type Via = 'stream' | 'poll' | 'tab';

/** What `outcrier.state` tells: the state has changed, or how events come. */
export interface StateChange {
  state: State;
  /** `poll` means that a proxy holds streams back, or that the browser has none. */
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
  reason: 'drain' | 'full' | 'too_many' | 'token_expired' | 'token_revoked' | 'key_withdrawn' | 'revoked' | 'keys_unavailable' | 'unavailable' | 'ended' | (string & {});
}

/** The module's own events. No event of the table has a type that begins with `outcrier.`. */
export interface OwnEvents {
  'outcrier.state': StateChange;
  /** The state has become `live`: all that was missed has been given. */
  'outcrier.live': StateChange;
  'outcrier.gap': Gap;
  'outcrier.goodbye': Goodbye;
}

export interface Options {
  /** Topics to follow: exact, or with `*` for one segment, a final `**` for the rest. None by default: see `add`. */
  topics?: string | string[];
  /** Only events of these types: exact, or with a final `*`. All by default. */
  types?: string[];
  /**
   * Where to begin: `now` (default), `earliest`, the newest events as `last:50`, a position (as of SQL's
   * `outcrier.position()`, rendered into the page), an RFC 3339 time, or a duration back like `1h`. A position that is
   * remembered wins.
   */
  from?: string;
  /**
   * The bearer token, or a function that gets one. It is called before the first request, shortly before a JWT's
   * `exp`, and when the server refuses the token or says that it has expired. If it gives the refused one again,
   * the stream is closed. Without it the browser's cookies say who it is.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /**
   * Keeps the position across page loads, in `sessionStorage` (so each tab goes on from its own) and `localStorage`
   * (for a new tab) under `outcrier:` and this name. Give each user a name of their own.
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
   * 15000 by default. What is silent for 2.5 of them is lost.
   */
  heartbeat?: number;
  /** Milliseconds until the first byte of a stream, 5000 by default; then it is taken for held back by a proxy. */
  patience?: number;
}

export interface Stream {
  readonly state: State;
  readonly via: Via;
  /** After all that was given so far; opaque. As `from` of another stream it goes on there. */
  readonly position: string | undefined;
  /**
   * Calls the listener with each event of a type: exact, with a final `*`, or `*` for all of the table's. Returns what
   * takes it off again. Listeners are called in the order in which they came, and what one throws concerns no other.
   */
  on<T extends keyof OwnEvents>(type: T, listener: (event: OwnEvents[T]) => void): () => void;
  on<Data = any>(type: string, listener: (event: OutcrierEvent<Data>) => void): () => void;
  /** As `on`, for one event. */
  once<T extends keyof OwnEvents>(type: T, listener: (event: OwnEvents[T]) => void): () => void;
  once<Data = any>(type: string, listener: (event: OutcrierEvent<Data>) => void): () => void;
  /** Takes off a listener, or all of a type, named as they were named to `on`. */
  off(type: string, listener?: (event: any) => void): void;
  /** Takes off all listeners. */
  clear(): void;
  /** Follows more topics, from now on or from where `from` says. The others lose and repeat nothing. */
  add(topics: string | string[], options?: { from?: string }): void;
  /** Follows topics no more, at once. They are named as they were asked for. */
  drop(topics: string | string[]): void;
  /** Ends the stream for good. */
  close(): void;
}

/** Opens a stream. `url` is that of `/events`, relative to the page. */
export function connect(url: string | URL, options?: Options): Stream;

/** Reads Server-Sent Events out of text that comes in pieces; what `connect` reads streams with. */
export function parser(
  dispatch: (event: { type: string; data: string; id: string }) => void,
  retry: (milliseconds: number) => void,
): (text: string) => void;
