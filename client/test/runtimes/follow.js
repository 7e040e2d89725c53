// Runs under Node.js, Bun and Deno, and in their workers: follows a stream that breaks off, and
// prints what it is given.
import { connect } from '../../src/outcrier.js';

const [url] = globalThis.Deno?.args ?? process.argv.slice(2);
const stream = connect(url, { topics: ['a'], retry: { min: 50 }, remember: 'me', share: true });
stream.on('*', ({ id }) => {
  console.log(`event ${id}`);
  if (id === '2') stream.close();
});
stream.on('outcrier.state', ({ state, reason }) => state === 'closed' && console.log(`closed, ${reason}`));

// There is no page here that this could be relative to.
const lost = connect('/events', { topics: ['a'] });
lost.on('outcrier.state', ({ state, reason }) => console.log(`${state}, ${reason}`));
