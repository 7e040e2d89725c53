import { url } from './print.mjs';

// follow reads a stream on the WebSockets of a library, as docs/protocol.md describes it: it
// comes back after every end, from the last position that it was given.
export function follow(WebSocket) {
  let position = '';
  let retry = 1000;
  const open = () => {
    const address = new URL(url);
    if (position) address.searchParams.set('last_event_id', position);
    const socket = new WebSocket(address.href, ['outcrier']);
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.event.type === 'outcrier.hello' || message.event.type === 'outcrier.goodbye') retry = message.event.data.retry;
      if (!message.event.type.startsWith('outcrier.')) {
        process.stdout.write(`${JSON.stringify({ id: message.position, type: message.event.type, data })}\n`);
      }
      if (message.position) position = message.position;
    };
    socket.onerror = () => {}; // and then it is closed
    let ended = false;
    socket.onclose = () => {
      if (!ended) setTimeout(open, retry);
      ended = true;
    };
  };
  open();
}
