// Append events with MikroORM: tsx main.ts postgres://…
import { MikroORM } from '@mikro-orm/postgresql';
import { scene, stack } from '../scenes.ts';
import { Event, Item } from './entities.ts';
import config from './mikro-orm.config.ts';

const orm = await MikroORM.init(config);

stack('MikroORM', '@mikro-orm/core');

await scene('one', async () => {
  const em = orm.em.fork();
  const event = em.create(Event, { topic: 'orm/one', type: 'item.added', payload: { item: 1 } });
  await em.flush();
  return event.id;
});

await scene('many', async () => {
  const em = orm.em.fork();
  const events = [1, 2, 3].map((n) => em.create(Event, { topic: 'orm/many', type: 'item.added', payload: { item: n } }));
  await em.flush();
  return events.map((event) => event.id);
});

await scene('transaction', () => orm.em.fork().transactional(async (em) => {
  const item = em.create(Item, { name: 'lamp' });
  await em.flush();
  const event = em.create(Event, { topic: 'orm/transaction', type: 'item.added', payload: { item: item.id } });
  await em.flush();
  return event.id;
}));

await scene('rollback', async () => {
  const em = orm.em.fork();
  await em.begin();
  em.create(Item, { name: 'ghost' });
  em.create(Event, { topic: 'orm/rollback', type: 'item.added' });
  await em.flush();
  await em.rollback();
});

await scene('returning', async () => {
  // MikroORM reads back the id and all columns with a default that were not set.
  const em = orm.em.fork();
  const event = em.create(Event, { topic: 'orm/returning', type: 'item.added', payload: { item: 4 } });
  await em.flush();
  if (!event.createdAt || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const em = orm.em.fork();
  const event = em.create(Event, {
    topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedupKey: null, deliverAt: null, createdAt: null,
  });
  await em.flush();
  return event.id;
});

await scene('default', async () => {
  // MikroORM sends DEFAULT for what is not set in one row and set in another; else it leaves the column out.
  const em = orm.em.fork();
  const rows = [{ topic: 'orm/default', type: 'item.added' }, { topic: 'orm/default', type: 'item.added', source: '/' }];
  const events = rows.map((row) => em.create(Event, row));
  await em.flush();
  return events.map((event) => event.id);
});

await scene('json', async () => {
  const em = orm.em.fork();
  const event = em.create(Event, {
    topic: 'orm/json',
    type: 'item.added',
    payload: { item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } },
    headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  });
  await em.flush();
  return event.id;
});

await scene('retry', async () => {
  const pay = () => orm.em.fork().transactional(async (em) => {
    const values = { topic: 'orm/retry', type: 'item.paid', payload: { item: 7 }, dedupKey: 'item-7-paid' };
    const event = em.create(Event, values);
    await em.flush();
    return event.id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await orm.em.fork().transactional(async (em) => {
    await em.insert(Event, { topic: 'orm/clone', type: 'item.added', payload: { item: 8 } });
    return em.findOneOrFail(Event, { topic: 'orm/clone' });
  });
  const em = orm.em.fork();
  const { id, ...values } = event;
  const copy = em.create(Event, values);
  await em.flush();
  return [id, copy.id];
});

await scene('read', () => orm.em.fork().transactional(async (em) => {
  await em.insert(Event, { topic: 'orm/read', type: 'item.added', payload: { item: 9 } });
  return (await em.findOneOrFail(Event, { topic: 'orm/read' })).id;
}));

await orm.close();
