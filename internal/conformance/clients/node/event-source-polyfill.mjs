import { printMessage, url } from './print.mjs';

// It waits for a second at least before it comes back, whatever the server sets: all scenes would
// wait for it alone. It keeps the setTimeout that is there when it is loaded.
const { setTimeout } = globalThis;
globalThis.setTimeout = (fn, ms, ...args) => setTimeout(fn, ms === 1000 ? 300 : ms, ...args);
const { default: polyfill } = await import('event-source-polyfill');
globalThis.setTimeout = setTimeout;

const source = new polyfill.EventSourcePolyfill(url);
source.onmessage = printMessage;
