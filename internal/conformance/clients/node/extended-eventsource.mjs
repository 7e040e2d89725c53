import { EventSource } from 'extended-eventsource';
import { printMessage, url } from './print.mjs';

const source = new EventSource(url);
source.onmessage = printMessage;
