import { poll } from './poll.js';
import { websocket } from './websocket.js';

/** @typedef {import('./connection.js').Transport} Transport */

/**
 * The byName that there are here, from the one that is tried first on.
 *
 * @param {import('./connection.js').Link} link
 * @param {import('../outcrier.d.ts').Options['transport']} first
 * @param {Transport} stream
 * @param {number} patience
 */
export function transports(link, first, stream, patience) {
  /** @type {Record<'stream' | 'websocket' | 'poll', Transport>} */
  const byName = {
    stream,
    websocket: (...its) => websocket(...its, { probe, useNext }),
    poll: (...its) => poll(...its, isOver),
  };
  /** @type {('stream' | 'websocket' | 'poll')[]} */
  const names = ['poll'];
  if (globalThis.WebSocket) names.unshift('websocket');
  if ('body' in Response.prototype) names.unshift('stream');
  names.sort((a, b) => +(b === first) - +(a === first));
  let current = 0;
  let better = 0; // when the first of them is tried again
  let held = 0; // streams of which only the beginning came, one after the other

  const isOver = () => current > 0 && Date.now() > better;

  function useNext() {
    current = (current + 1) % names.length;
    better = Date.now() + 300_000;
    held = 0;
  }

  /** Asks as the transport does, by poll. Throws why that is refused, or not answered in time. */
  function probe() {
    const signal = AbortSignal.timeout(4 * patience);
    return new Promise((resolve, reject) => {
      signal.onabort = () => reject(signal.reason); // even if the token does not come
      link.requests.ask(link.asked.topics, { wait: '0s', limit: '1' }, 'application/json', signal).then((answer) => answer.json()).then(resolve, reject);
    });
  }

  return {
    get via() { return names[current]; },

    /** The transport of the next attempt. */
    next() {
      if (isOver()) current = 0;
      return byName[names[current]];
    },

    /**
     * Something is late. A poll finds out whether the network is to blame, or a line that is
     * slow, or other streams that take all of the browser's connections: then it is late too.
     * If not, a proxy holds back the stream: all of it, or what comes after its beginning.
     * Reports whether another transport is next.
     *
     * @param {number} began @param {number} heard @param {number} heartbeat @param {() => boolean} isLate
     */
    async checkSilence(began, heard, heartbeat, isLate) {
      // What was good for long needs no other transport. After so long a silence the machine has slept.
      const isOld = began && heard - began > 2 * heartbeat;
      if (names[current] === 'poll' || (isOld && Date.now() - heard > 2.5 * heartbeat)) return false;
      if (!isLate()) return false; // while this part was loaded
      await probe();
      if (isOld) held = 0; // this one was good
      if (!isLate() || isOld || (began && ++held < 2)) return false;
      useNext();
      return true;
    },

    /** No byte came by the one that was tried. */
    failed() {
      if (names[current] === 'poll') current = 0; // it was not the proxy
    },

    reset() { current = 0; },
  };
}
