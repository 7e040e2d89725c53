// Append events with Drizzle: tsx main.ts postgres://…
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { scene, stack, url } from '../scenes.ts';
import { outbox } from './outbox.ts';
import { item } from './schema.ts';

const db = drizzle(url);

stack('Drizzle', 'drizzle-orm');

await scene('one', async () => {
  const values = { topic: 'orm/one', type: 'item.added', payload: { item: 1 } };
  const [event] = await db.insert(outbox).values(values).returning({ id: outbox.id });
  return event.id;
});

await scene('many', async () => {
  const rows = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: { item: n } }));
  return (await db.insert(outbox).values(rows).returning({ id: outbox.id })).map(({ id }) => id);
});

await scene('transaction', () => db.transaction(async (tx) => {
  const [lamp] = await tx.insert(item).values({ name: 'lamp' }).returning();
  const values = { topic: 'orm/transaction', type: 'item.added', payload: { item: lamp.id } };
  const [event] = await tx.insert(outbox).values(values).returning({ id: outbox.id });
  return event.id;
}));

await scene('rollback', async () => {
  const changedMind = new Error('changed my mind');
  await db.transaction(async (tx) => {
    await tx.insert(item).values({ name: 'ghost' });
    await tx.insert(outbox).values({ topic: 'orm/rollback', type: 'item.added' });
    throw changedMind;
  }).catch((err) => {
    if (err !== changedMind) throw err;
  });
});

await scene('returning', async () => {
  const values = { topic: 'orm/returning', type: 'item.added', payload: { item: 4 } };
  const [event] = await db.insert(outbox).values(values).returning();
  if (!event.createdAt || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const [event] = await db.insert(outbox).values({
    topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedupKey: null, deliverAt: null, createdAt: null,
  }).returning({ id: outbox.id });
  return event.id;
});

await scene('default', async () => {
  // Drizzle sends DEFAULT for every column that is not set.
  const values = { topic: 'orm/default', type: 'item.added' };
  const [event] = await db.insert(outbox).values(values).returning({ id: outbox.id });
  return event.id;
});

await scene('json', async () => {
  const [event] = await db.insert(outbox).values({
    topic: 'orm/json',
    type: 'item.added',
    payload: { item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } },
    headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  }).returning({ id: outbox.id });
  return event.id;
});

await scene('retry', async () => {
  const pay = () => db.transaction(async (tx) => {
    const values = { topic: 'orm/retry', type: 'item.paid', payload: { item: 7 }, dedupKey: 'item-7-paid' };
    const [event] = await tx.insert(outbox).values(values).returning({ id: outbox.id });
    return event.id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await db.transaction(async (tx) => {
    await tx.insert(outbox).values({ topic: 'orm/clone', type: 'item.added', payload: { item: 8 } });
    const [event] = await tx.select().from(outbox).where(eq(outbox.topic, 'orm/clone'));
    return event;
  });
  const [copy] = await db.insert(outbox).values(event).returning({ id: outbox.id });
  return [event.id, copy.id];
});

await scene('read', () => db.transaction(async (tx) => {
  await tx.insert(outbox).values({ topic: 'orm/read', type: 'item.added', payload: { item: 9 } });
  const [event] = await tx.select().from(outbox).where(eq(outbox.topic, 'orm/read'));
  return event.id;
}));

await db.$client.end();
