/**
 * The same stream by WebSocket, for where proxies hold streams back. Topics change
 * without a new connection.
 *
 * @param {import('./connection.js').Link} link @param {string[]} topics @param {AbortSignal} signal
 * @param {{probe: () => Promise<unknown>, useNext: () => void}} ways
 * @returns {Promise<string | void>}
 */
export async function websocket(link, topics, signal, { probe, useNext }) {
  const token = await link.requests.bearer();
  signal.throwIfAborted();
  const address = link.requests.address(topics, link.subscriber.begin());
  address.protocol = address.protocol.replace('http', 'ws');
  /** @type {import('./connection.js').Audience[]} */
  const changing = []; // whom it will serve, by the answers to come
  /** @type {WebSocket | undefined} */
  let socket;
  let open = false;
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      // A browser's WebSocket has no headers: the token goes with the protocols.
      const ours = new WebSocket(address, token ? ['outcrier', `bearer.${token}`] : ['outcrier']);
      socket = ours;
      ours.onmessage = ({ data }) => {
        try {
          const { position, event } = JSON.parse(data);
          const { type } = event;
          open = true;
          link.hear();
          if (type === 'outcrier.topics') link.arrive(position, changing.shift());
          else if (type === 'outcrier.error') link.subscriber.refuse(event.data);
          else link.take(type, type.startsWith('outcrier.') ? event.data : event, position);
        } catch (trouble) {
          reject(trouble);
        }
      };
      ours.onerror = () => {}; // the end follows
      ours.onclose = () => (open ? resolve('ended') : reject({}));
      link.alter = (add, drop, audience) => {
        if (add[0] || drop[0]) {
          ours.send(JSON.stringify({ add, drop }));
          changing.push(audience);
        } else if (changing[0]) changing[changing.length - 1] = audience;
        else link.arrive(link.subscriber.begin().last_event_id, audience);
      };
    });
  } catch (trouble) {
    // A socket does not say why it was refused. A poll does, and if it is answered,
    // sockets don't get through here.
    if (open || signal.aborted) throw trouble;
    await probe();
    useNext();
  } finally {
    link.alter = undefined;
    socket?.close();
  }
}
