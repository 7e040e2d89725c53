// Append events with Objection on Knex: tsx main.ts postgres://…
import knex from 'knex';
import { Model } from 'objection';
import { scene, stack, url } from '../scenes.ts';

const db = knex({ client: 'pg', connection: url });
Model.knex(db);

class Event extends Model {
  static tableName = 'outbox';
  static jsonAttributes = ['payload', 'headers'];

  id!: string;
  topic!: string;
  type!: string;
  payload?: object | null;
  source?: string | null;
  headers?: Record<string, string> | null;
  dedup_key?: string | null;
  deliver_at?: Date | null;
  created_at?: Date | null;
}

class Item extends Model {
  static tableName = 'item';

  id!: string;
  name!: string;
}

stack('Objection', 'objection');

await scene('one', async () => {
  const event = await Event.query().insert({ topic: 'orm/one', type: 'item.added', payload: { item: 1 } });
  return event.id;
});

await scene('many', async () => {
  const rows = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: { item: n } }));
  return (await Event.query().insert(rows)).map(({ id }) => id);
});

await scene('transaction', () => Model.transaction(async (trx) => {
  const item = await Item.query(trx).insert({ name: 'lamp' });
  const payload = { item: Number(item.id) };
  const event = await Event.query(trx).insert({ topic: 'orm/transaction', type: 'item.added', payload });
  return event.id;
}));

await scene('rollback', async () => {
  const trx = await Model.startTransaction();
  await Item.query(trx).insert({ name: 'ghost' });
  await Event.query(trx).insert({ topic: 'orm/rollback', type: 'item.added' });
  await trx.rollback();
});

await scene('returning', async () => {
  const values = { topic: 'orm/returning', type: 'item.added', payload: { item: 4 } };
  const event = await Event.query().insert(values).returning('*');
  if (!event.created_at || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const event = await Event.query().insert({
    topic: 'orm/null', type: 'item.added', payload: null, source: null, headers: null,
    dedup_key: null, deliver_at: null, created_at: null,
  });
  return event.id;
});

await scene('default', async () => {
  // Knex sends DEFAULT for what is not set in one row and set in another; else it leaves the column out.
  const rows = [{ topic: 'orm/default', type: 'item.added' }, { topic: 'orm/default', type: 'item.added', source: '/' }];
  return (await Event.query().insert(rows)).map(({ id }) => id);
});

await scene('json', async () => {
  const event = await Event.query().insert({
    topic: 'orm/json',
    type: 'item.added',
    payload: { item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } },
    headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
  });
  return event.id;
});

await scene('retry', async () => {
  const pay = () => Model.transaction(async (trx) => {
    const values = { topic: 'orm/retry', type: 'item.paid', payload: { item: 7 }, dedup_key: 'item-7-paid' };
    return (await Event.query(trx).insert(values)).id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await Model.transaction(async (trx) => {
    await Event.query(trx).insert({ topic: 'orm/clone', type: 'item.added', payload: { item: 8 } });
    return Event.query(trx).findOne({ topic: 'orm/clone' }).throwIfNotFound();
  });
  const copy = await Event.query().insert(event.$clone().$set({ id: undefined }));
  return [event.id, copy.id];
});

await scene('read', () => Model.transaction(async (trx) => {
  await Event.query(trx).insert({ topic: 'orm/read', type: 'item.added', payload: { item: 9 } });
  return (await Event.query(trx).findOne({ topic: 'orm/read' }).throwIfNotFound()).id;
}));

await db.destroy();
