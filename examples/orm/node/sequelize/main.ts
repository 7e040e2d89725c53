// Append events with Sequelize: tsx main.ts postgres://…
import { scene, stack } from '../scenes.ts';
import { Event, Item, sequelize } from './models.ts';

stack('Sequelize', 'sequelize');

await scene('one', async () => {
  const event = await Event.create({ topic: 'orm/one', type: 'item.added', payload: { item: 1 } });
  return event.id;
});

await scene('many', async () => {
  const rows = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: { item: n } }));
  return (await Event.bulkCreate(rows)).map((event) => event.id);
});

await scene('transaction', () => sequelize.transaction(async (transaction) => {
  const item = await Item.create({ name: 'lamp' }, { transaction });
  const payload = { item: Number(item.id) };
  const event = await Event.create({ topic: 'orm/transaction', type: 'item.added', payload }, { transaction });
  return event.id;
}));

await scene('rollback', async () => {
  const transaction = await sequelize.transaction();
  await Item.create({ name: 'ghost' }, { transaction });
  await Event.create({ topic: 'orm/rollback', type: 'item.added' }, { transaction });
  await transaction.rollback();
});

await scene('returning', async () => {
  // Sequelize reads all columns back with the INSERT.
  const event = await Event.create({ topic: 'orm/returning', type: 'item.added', payload: { item: 4 } });
  if (!event.created_at || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const event = await Event.create({
    topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedup_key: null, deliver_at: null, created_at: null,
  });
  return event.id;
});

await scene('default', async () => {
  // Sequelize sends DEFAULT for the id, and leaves out what is not set.
  const event = await Event.create({ topic: 'orm/default', type: 'item.added' });
  return event.id;
});

await scene('json', async () => {
  const event = await Event.create({
    topic: 'orm/json',
    type: 'item.added',
    payload: { item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } },
    headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  });
  return event.id;
});

await scene('retry', async () => {
  const pay = () => sequelize.transaction(async (transaction) => {
    const values = { topic: 'orm/retry', type: 'item.paid', payload: { item: 7 }, dedup_key: 'item-7-paid' };
    return (await Event.create(values, { transaction })).id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await sequelize.transaction(async (transaction) => {
    await Event.create({ topic: 'orm/clone', type: 'item.added', payload: { item: 8 } }, { transaction });
    return Event.findOne({ where: { topic: 'orm/clone' }, rejectOnEmpty: true, transaction });
  });
  const copy = await Event.create(event.get());
  return [event.id, copy.id];
});

await scene('read', () => sequelize.transaction(async (transaction) => {
  await Event.create({ topic: 'orm/read', type: 'item.added', payload: { item: 9 } }, { transaction });
  const event = await Event.findOne({ where: { topic: 'orm/read' }, rejectOnEmpty: true, transaction });
  return event.id;
}));

await sequelize.close();
