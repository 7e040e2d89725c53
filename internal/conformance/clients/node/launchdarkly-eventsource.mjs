import { EventSource } from 'launchdarkly-eventsource';
import { printMessage, url } from './print.mjs';

const source = new EventSource(url);
source.onmessage = printMessage;
source.onerror = (error) => console.error(error.message); // else it throws
