// Append events with TypeORM: tsx main.ts postgres://…
import { DataSource } from 'typeorm';
import { scene, stack, url } from '../scenes.ts';
import { Event, Item } from './entities.ts';

const db = await new DataSource({ type: 'postgres', url, entities: [Event, Item] }).initialize();
const events = db.getRepository(Event);

stack('TypeORM', 'typeorm');

await scene('one', async () => {
  const event = await events.save({ topic: 'orm/one', type: 'item.added', payload: { item: 1 } });
  return event.id;
});

await scene('many', async () => {
  const rows = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: { item: n } }));
  return (await events.save(rows)).map((event) => event.id);
});

await scene('transaction', () => db.transaction(async (tx) => {
  const item = await tx.save(Item, { name: 'lamp' });
  const payload = { item: Number(item.id) };
  const event = await tx.save(Event, { topic: 'orm/transaction', type: 'item.added', payload });
  return event.id;
}));

await scene('rollback', async () => {
  const runner = db.createQueryRunner();
  await runner.startTransaction();
  await runner.manager.save(Item, { name: 'ghost' });
  await runner.manager.save(Event, { topic: 'orm/rollback', type: 'item.added' });
  await runner.rollbackTransaction();
  await runner.release();
});

await scene('returning', async () => {
  // TypeORM reads back the id and all columns with a default.
  const event = await events.save({ topic: 'orm/returning', type: 'item.added', payload: { item: 4 } } as Event);
  if (!event.created_at || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const event = await events.save({
    topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedup_key: null, deliver_at: null, created_at: null,
  });
  return event.id;
});

await scene('default', async () => {
  // TypeORM sends DEFAULT for every column that is not set.
  const event = await events.save({ topic: 'orm/default', type: 'item.added' });
  return event.id;
});

await scene('json', async () => {
  const event = await events.save({
    topic: 'orm/json',
    type: 'item.added',
    payload: { item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } },
    headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  });
  return event.id;
});

await scene('retry', async () => {
  const pay = () => db.transaction(async (tx) => {
    const values = { topic: 'orm/retry', type: 'item.paid', payload: { item: 7 }, dedup_key: 'item-7-paid' };
    return (await tx.save(Event, values)).id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await db.transaction(async (tx) => {
    await tx.save(Event, { topic: 'orm/clone', type: 'item.added', payload: { item: 8 } });
    return tx.findOneByOrFail(Event, { topic: 'orm/clone' });
  });
  const { id, ...values } = event;
  const copy = await events.save(values);
  return [id, copy.id];
});

await scene('read', () => db.transaction(async (tx) => {
  await tx.save(Event, { topic: 'orm/read', type: 'item.added', payload: { item: 9 } });
  return (await tx.findOneByOrFail(Event, { topic: 'orm/read' })).id;
}));

await db.destroy();
