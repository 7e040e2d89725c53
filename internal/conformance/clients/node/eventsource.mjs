// eventsource, the most used of all, in a version of its own: 1, 2, 3 or 4.
import { printMessage, url } from './print.mjs';

const module = await import(`eventsource${process.argv[3]}`);
const EventSource = module.EventSource ?? module.default;

const source = new EventSource(url);
source.onmessage = printMessage;
