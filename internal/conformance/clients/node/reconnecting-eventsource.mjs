import ReconnectingEventSource from 'reconnecting-eventsource';
import { EventSource } from 'eventsource5';
import { printMessage, url } from './print.mjs';

// By addEventListener: what comes by onmessage it does not take the id of.
const source = new ReconnectingEventSource(url, { eventSourceClass: EventSource });
source.addEventListener('message', printMessage);

// While it waits to come back it does not keep Node running.
const alive = setInterval(() => {}, 1000);
source.onerror = () => source.readyState === 2 && clearInterval(alive);
