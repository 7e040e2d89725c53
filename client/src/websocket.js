/**
 * The same stream by WebSocket, for where proxies hold streams back. Topics change
 * without a new connection.
 *
 * @type {import('./connection.js').Transport}
 */
export async function websocket(link, topics, signal) {
  const token = await link.requests.token();
  link.expectFirst();
  const address = link.requests.address(topics, link.begin());
  address.protocol = address.protocol.replace('http', 'ws');
  /** @type {WebSocket | undefined} */
  let socket;
  let open = false;
  try {
    await new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      // A browser's WebSocket has no headers: the token goes with the protocols.
      const ours = new WebSocket(address, token ? ['outcrier', `bearer.${token}`] : ['outcrier']);
      socket = ours;
      ours.onmessage = ({ data }) => {
        try {
          const { position, event } = JSON.parse(data);
          open = true;
          link.hear();
          link.take(event.type, event.type.startsWith('outcrier.') ? event.data : event, position);
        } catch (trouble) {
          reject(trouble);
        }
      };
      ours.onerror = () => {}; // the end follows
      ours.onclose = () => reject(open ? link.ended() : {});
      link.send = (change) => ours.send(JSON.stringify(change));
    });
  } catch (trouble) {
    // A socket does not say why it was refused. A poll does, and if it is answered,
    // sockets don't get through here.
    if (open || signal.aborted) throw trouble;
    await link.probe();
    link.giveWay();
  } finally {
    link.send = undefined;
    socket?.close();
  }
}
