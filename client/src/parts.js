/**
 * A part of the module that is loaded when it is needed. Browsers may keep a failure for as
 * long as the page is there, under the address that they name in the error: the next attempt
 * is under another one.
 *
 * @template Part
 * @param {() => Promise<Part>} load
 */
export const part = (load) => () =>
  load().catch((error) => {
    const address = error.message.split('imported module: ')[1];
    if (address) load = () => import(/* @vite-ignore */ /* webpackIgnore: true */ `${address}?${Math.random()}`);
    throw error;
  });

export const parts = {
  changes: part(() => import('./changes.js')),
  memory: part(() => import('./memory.js')),
  renewal: part(() => import('./renewal.js')),
  tabs: part(() => import('./tabs.js')),
  ways: part(() => import('./ways.js')),
};
