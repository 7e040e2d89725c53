import { EventSource } from 'eventsource';
import './follow.js';

// node main.js '["http://…"]' '["a.type"]' prints each event as a line of JSON.
const [urls, types] = process.argv.slice(2).map((json) => JSON.parse(json));
follow(EventSource, urls, types, (event) => process.stdout.write(`${JSON.stringify(event)}\n`));
