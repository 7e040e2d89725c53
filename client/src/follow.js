import { connect } from './outcrier.js';
import { listed } from './listed.js';

/** @typedef {import('../hooks.d.ts').HookOptions} HookOptions */
/** @typedef {Record<string, ((event: any) => void) | undefined>} Listeners */

/** What a component shows before there is a stream. @type {import('../outcrier.d.ts').StateChange} */
export const beginning = { state: 'connecting', via: 'stream' };

/**
 * A stream for as long as a component is there. The listeners are looked up with each
 * event, and the topics can change.
 *
 * @param {string | URL} url
 * @param {HookOptions} options
 * @param {() => Listeners} listeners
 * @param {(change: import('../outcrier.d.ts').StateChange) => void} show
 */
export function follow(url, { connect: open = connect, ...options }, listeners, show) {
  const stream = open(url, options);
  let topics = listed(options.topics);
  stream.on('outcrier.state', show);
  for (const type of Object.keys(listeners())) stream.on(type, (/** @type {any} */ event) => listeners()[type]?.(event));
  return {
    /** @param {string | readonly string[]} [next] */
    topics(next) {
      const before = topics;
      topics = listed(next);
      stream.add(topics.filter((topic) => !before.includes(topic)));
      stream.drop(before.filter((topic) => !topics.includes(topic)));
    },
    close() {
      stream.clear(); // a component that is gone shows nothing
      stream.close();
    },
  };
}
