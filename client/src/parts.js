/**
 * A part of the module that is loaded when it is needed. An import may never settle, on a
 * network that swallows all: that is a failure too. Browsers may keep a failure for as long as
 * the page is there, under the address that they name in the error: the next attempt is under
 * another one.
 *
 * @template Part
 * @param {() => Promise<Part>} load
 * @param {string} [address] the one that the first failure names
 * @returns {() => Promise<Part>}
 */
export const part = (load, address) => () =>
  new Promise((resolve, reject) => {
    load().then(resolve, reject);
    AbortSignal.timeout(20_000).onabort = () => reject(new Error('a part of the module did not load within 20 s'));
  }).catch((error) => {
    address ??= error.message.split('imported module: ')[1];
    if (address) load = () => import(/* @vite-ignore */ /* webpackIgnore: true */ `${address}?${Math.random()}`);
    throw error;
  });

export const parts = {
  changes: part(() => import('./changes.js')),
  memory: part(() => import('./memory.js')),
  tabs: part(() => import('./tabs.js')),
  tokens: part(() => import('./tokens.js')),
  transports: part(() => import('./transports.js')),
};
