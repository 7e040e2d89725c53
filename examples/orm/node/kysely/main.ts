// Append events with Kysely: tsx main.ts postgres://…
import { type ColumnType, type Generated, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { scene, stack, url } from '../scenes.ts';

// JSON is read as an object and written as text.
type Json<T> = ColumnType<T | null, string | null | undefined, never>;

interface Outbox {
  id: Generated<string>;
  topic: string;
  type: string;
  payload: Json<object>;
  source: Generated<string | null>;
  headers: Json<Record<string, string>>;
  dedup_key: Generated<string | null>;
  deliver_at: Generated<Date | null>;
  created_at: Generated<Date | null>;
}

interface Item {
  id: Generated<string>;
  name: string;
}

const db = new Kysely<{ outbox: Outbox; item: Item }>({
  dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url }) }),
});

stack('Kysely', 'kysely');

await scene('one', async () => {
  const values = { topic: 'orm/one', type: 'item.added', payload: JSON.stringify({ item: 1 }) };
  const event = await db.insertInto('outbox').values(values).returning('id').executeTakeFirstOrThrow();
  return event.id;
});

await scene('many', async () => {
  const rows = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: JSON.stringify({ item: n }) }));
  return (await db.insertInto('outbox').values(rows).returning('id').execute()).map(({ id }) => id);
});

await scene('transaction', () => db.transaction().execute(async (tx) => {
  const item = await tx.insertInto('item').values({ name: 'lamp' }).returning('id').executeTakeFirstOrThrow();
  const payload = JSON.stringify({ item: Number(item.id) });
  const event = await tx.insertInto('outbox').values({ topic: 'orm/transaction', type: 'item.added', payload })
    .returning('id').executeTakeFirstOrThrow();
  return event.id;
}));

await scene('rollback', async () => {
  const tx = await db.startTransaction().execute();
  await tx.insertInto('item').values({ name: 'ghost' }).execute();
  await tx.insertInto('outbox').values({ topic: 'orm/rollback', type: 'item.added' }).execute();
  await tx.rollback().execute();
});

await scene('returning', async () => {
  const values = { topic: 'orm/returning', type: 'item.added', payload: JSON.stringify({ item: 4 }) };
  const event = await db.insertInto('outbox').values(values).returningAll().executeTakeFirstOrThrow();
  if (!event.created_at || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const event = await db.insertInto('outbox').values({
    topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedup_key: null, deliver_at: null, created_at: null,
  }).returning('id').executeTakeFirstOrThrow();
  return event.id;
});

await scene('default', async () => {
  // Kysely sends DEFAULT for what is not set in one row and set in another; else it leaves the column out.
  const rows = [{ topic: 'orm/default', type: 'item.added' }, { topic: 'orm/default', type: 'item.added', source: '/' }];
  return (await db.insertInto('outbox').values(rows).returning('id').execute()).map(({ id }) => id);
});

await scene('json', async () => {
  const event = await db.insertInto('outbox').values({
    topic: 'orm/json',
    type: 'item.added',
    payload: JSON.stringify({ item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } }),
    headers: JSON.stringify({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }),
  }).returning('id').executeTakeFirstOrThrow();
  return event.id;
});

await scene('retry', async () => {
  const pay = () => db.transaction().execute(async (tx) => {
    const event = await tx.insertInto('outbox').values({
      topic: 'orm/retry', type: 'item.paid', payload: JSON.stringify({ item: 7 }), dedup_key: 'item-7-paid',
    }).returning('id').executeTakeFirstOrThrow();
    return event.id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await db.transaction().execute(async (tx) => {
    const values = { topic: 'orm/clone', type: 'item.added', payload: JSON.stringify({ item: 8 }) };
    await tx.insertInto('outbox').values(values).execute();
    return tx.selectFrom('outbox').selectAll().where('topic', '=', 'orm/clone').executeTakeFirstOrThrow();
  });
  const values = { ...event, payload: JSON.stringify(event.payload), headers: null };
  const copy = await db.insertInto('outbox').values(values).returning('id').executeTakeFirstOrThrow();
  return [event.id, copy.id];
});

await scene('read', () => db.transaction().execute(async (tx) => {
  const values = { topic: 'orm/read', type: 'item.added', payload: JSON.stringify({ item: 9 }) };
  await tx.insertInto('outbox').values(values).execute();
  const event = await tx.selectFrom('outbox').select('id').where('topic', '=', 'orm/read').executeTakeFirstOrThrow();
  return event.id;
}));

await db.destroy();
