import polyfill from 'event-source-polyfill';
import { printMessage, url } from './print.mjs';

const source = new polyfill.EventSourcePolyfill(url);
source.onmessage = printMessage;
