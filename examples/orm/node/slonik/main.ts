// Append events with Slonik: tsx main.ts postgres://…
import { createPool, sql } from 'slonik';
import { z } from 'zod';
import { scene, stack, url } from '../scenes.ts';

const pool = await createPool(url);

const id = z.object({ id: z.number() });
const row = id.extend({ source: z.string(), created_at: z.number() });

stack('Slonik', 'slonik');

await scene('one', () => pool.oneFirst(sql.type(id)`
  INSERT INTO outbox (topic, type, payload) VALUES ('orm/one', 'item.added', ${sql.json({ item: 1 })}) RETURNING id`));

await scene('many', () => {
  const rows = [1, 2, 3].map((n) => ['orm/many', 'item.added', JSON.stringify({ item: n })]);
  return pool.manyFirst(sql.type(id)`
    INSERT INTO outbox (topic, type, payload)
    SELECT * FROM ${sql.unnest(rows, ['text', 'text', 'json'])} RETURNING id`);
});

await scene('transaction', () => pool.transaction(async (tx) => {
  const item = await tx.oneFirst(sql.type(id)`INSERT INTO item (name) VALUES ('lamp') RETURNING id`);
  return tx.oneFirst(sql.type(id)`
    INSERT INTO outbox (topic, type, payload) VALUES ('orm/transaction', 'item.added', ${sql.json({ item })}) RETURNING id`);
}));

await scene('rollback', async () => {
  const changedMind = new Error('changed my mind');
  await pool.transaction(async (tx) => {
    await tx.query(sql.unsafe`INSERT INTO item (name) VALUES ('ghost')`);
    await tx.query(sql.unsafe`INSERT INTO outbox (topic, type) VALUES ('orm/rollback', 'item.added')`);
    throw changedMind;
  }).catch((err) => {
    if (err !== changedMind) throw err;
  });
});

await scene('returning', async () => {
  const event = await pool.one(sql.type(row)`
    INSERT INTO outbox (topic, type, payload) VALUES ('orm/returning', 'item.added', ${sql.json({ item: 4 })})
    RETURNING id, source, created_at`);
  if (!event.created_at || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', () => pool.oneFirst(sql.type(id)`
  INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
  VALUES (${null}, 'orm/null', 'item.added', ${null}, ${null}, ${null}, ${null}, ${null}, ${null}) RETURNING id`));

await scene('default', () => pool.oneFirst(sql.type(id)`
  INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
  VALUES (DEFAULT, 'orm/default', 'item.added', DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id`));

await scene('json', () => {
  const payload = sql.json({ item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } });
  const headers = sql.jsonb({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
  return pool.oneFirst(sql.type(id)`
    INSERT INTO outbox (topic, type, payload, headers) VALUES ('orm/json', 'item.added', ${payload}, ${headers}) RETURNING id`);
});

await scene('retry', async () => {
  const pay = () => pool.transaction((tx) => tx.oneFirst(sql.type(id)`
    INSERT INTO outbox (topic, type, payload, dedup_key)
    VALUES ('orm/retry', 'item.paid', ${sql.json({ item: 7 })}, 'item-7-paid') RETURNING id`));
  return [await pay(), await pay()];
});

await scene('clone', () => pool.connect(async (conn) => {
  const event = await conn.transaction(async (tx) => {
    await tx.query(sql.unsafe`
      INSERT INTO outbox (topic, type, payload) VALUES ('orm/clone', 'item.added', ${sql.json({ item: 8 })})`);
    return tx.one(sql.unsafe`SELECT * FROM outbox WHERE topic = 'orm/clone'`);
  });
  const copy = await conn.oneFirst(sql.type(id)`
    INSERT INTO outbox (id, topic, type, payload, source)
    VALUES (${event.id}, ${event.topic}, ${event.type}, ${sql.json(event.payload)}, ${event.source}) RETURNING id`);
  return [event.id, copy];
}));

await scene('read', () => pool.transaction(async (tx) => {
  await tx.query(sql.unsafe`
    INSERT INTO outbox (topic, type, payload) VALUES ('orm/read', 'item.added', ${sql.json({ item: 9 })})`);
  return tx.oneFirst(sql.type(id)`SELECT id FROM outbox WHERE topic = 'orm/read'`);
}));

await pool.end();
