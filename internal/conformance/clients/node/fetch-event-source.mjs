import { fetchEventSource } from '@microsoft/fetch-event-source';
import { print, url } from './print.mjs';

globalThis.window = globalThis; // it is made for browsers

await fetchEventSource(url, {
  openWhenHidden: true,
  fetch,
  onmessage(message) {
    if (message.event === '') print(message.id, 'message', message.data);
    else JSON.parse(message.data); // those of the server's own too
  },
  onclose() {
    throw new Error('the server has ended the stream'); // as its README does to be brought back
  },
  onerror(error) {
    console.error(error.message);
  },
});
