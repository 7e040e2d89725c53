import { EventSource } from 'eventsource5';
import { printMessage, url } from './print.mjs';

const source = new EventSource(url);
source.onmessage = printMessage;

// While it waits to come back it does not keep Node running.
const alive = setInterval(() => {}, 1000);
source.onerror = () => source.readyState === 2 && clearInterval(alive);
