// Append events with postgres.js, no ORM: tsx main.ts postgres://…
import postgres from 'postgres';
import { scene, stack, url } from '../scenes.ts';

const sql = postgres(url);

stack('postgres.js', 'postgres');

await scene('one', async () => {
  const values = { topic: 'orm/one', type: 'item.added', payload: sql.json({ item: 1 }) };
  const [event] = await sql`INSERT INTO outbox ${sql(values)} RETURNING id`;
  return event.id;
});

await scene('many', async () => {
  const rows = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: sql.json({ item: n }) }));
  return (await sql`INSERT INTO outbox ${sql(rows)} RETURNING id`).map(({ id }) => id);
});

await scene('transaction', () => sql.begin(async (sql) => {
  const [item] = await sql`INSERT INTO item (name) VALUES ('lamp') RETURNING id`;
  const values = { topic: 'orm/transaction', type: 'item.added', payload: sql.json({ item: Number(item.id) }) };
  const [event] = await sql`INSERT INTO outbox ${sql(values)} RETURNING id`;
  return event.id;
}));

await scene('rollback', async () => {
  const changedMind = new Error('changed my mind');
  await sql.begin(async (sql) => {
    await sql`INSERT INTO item (name) VALUES ('ghost')`;
    await sql`INSERT INTO outbox (topic, type) VALUES ('orm/rollback', 'item.added')`;
    throw changedMind;
  }).catch((err) => {
    if (err !== changedMind) throw err;
  });
});

await scene('returning', async () => {
  const values = { topic: 'orm/returning', type: 'item.added', payload: sql.json({ item: 4 }) };
  const [event] = await sql`INSERT INTO outbox ${sql(values)} RETURNING *`;
  if (!event.created_at || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const [event] = await sql`INSERT INTO outbox ${sql({
    id: null, topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedup_key: null, deliver_at: null, created_at: null,
  })} RETURNING id`;
  return event.id;
});

await scene('default', async () => {
  const [event] = await sql`
    INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
    VALUES (DEFAULT, 'orm/default', 'item.added', DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id`;
  return event.id;
});

await scene('json', async () => {
  const [event] = await sql`INSERT INTO outbox ${sql({
    topic: 'orm/json',
    type: 'item.added',
    payload: sql.json({ item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } }),
    headers: sql.json({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }),
  })} RETURNING id`;
  return event.id;
});

await scene('retry', async () => {
  const pay = () => sql.begin(async (sql) => {
    const values = { topic: 'orm/retry', type: 'item.paid', payload: sql.json({ item: 7 }), dedup_key: 'item-7-paid' };
    const [event] = await sql`INSERT INTO outbox ${sql(values)} RETURNING id`;
    return event.id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await sql.begin(async (sql) => {
    const values = { topic: 'orm/clone', type: 'item.added', payload: sql.json({ item: 8 }) };
    await sql`INSERT INTO outbox ${sql(values)}`;
    const [event] = await sql`SELECT * FROM outbox WHERE topic = 'orm/clone'`;
    return event;
  });
  const [copy] = await sql`INSERT INTO outbox ${sql(event)} RETURNING id`;
  return [event.id, copy.id];
});

await scene('read', () => sql.begin(async (sql) => {
  const values = { topic: 'orm/read', type: 'item.added', payload: sql.json({ item: 9 }) };
  await sql`INSERT INTO outbox ${sql(values)}`;
  const [event] = await sql`SELECT id FROM outbox WHERE topic = 'orm/read'`;
  return event.id;
}));

await sql.end();
