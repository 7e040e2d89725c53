// Append events with Prisma: tsx main.ts postgres://…
import { PrismaPg } from '@prisma/adapter-pg';
import { scene, stack, url } from '../scenes.ts';
import { Prisma, PrismaClient } from './generated/index.js';

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });

stack('Prisma', '@prisma/client');

await scene('one', async () => {
  const event = await prisma.event.create({ data: { topic: 'orm/one', type: 'item.added', payload: { item: 1 } } });
  return event.id;
});

await scene('many', async () => {
  const data = [1, 2, 3].map((n) => ({ topic: 'orm/many', type: 'item.added', payload: { item: n } }));
  return (await prisma.event.createManyAndReturn({ data })).map(({ id }) => id);
});

await scene('transaction', () => prisma.$transaction(async (tx) => {
  const item = await tx.item.create({ data: { name: 'lamp' } });
  const payload = { item: Number(item.id) };
  const event = await tx.event.create({ data: { topic: 'orm/transaction', type: 'item.added', payload } });
  return event.id;
}));

await scene('rollback', async () => {
  const changedMind = new Error('changed my mind');
  await prisma.$transaction(async (tx) => {
    await tx.item.create({ data: { name: 'ghost' } });
    await tx.event.create({ data: { topic: 'orm/rollback', type: 'item.added' } });
    throw changedMind;
  }).catch((err) => {
    if (err !== changedMind) throw err;
  });
});

await scene('returning', async () => {
  const data = { topic: 'orm/returning', type: 'item.added', payload: { item: 4 } };
  const event = await prisma.event.create({ data });
  if (!event.createdAt || event.source !== '/') throw new Error('not read back');
  return event.id;
});

await scene('null', async () => {
  const event = await prisma.event.create({
    data: {
      topic: 'orm/null', type: 'item.added', payload: Prisma.DbNull, source: null, headers: Prisma.DbNull,
      dedupKey: null, deliverAt: null, createdAt: null,
    },
  });
  return event.id;
});

await scene('default', async () => {
  // Prisma leaves out what is not set. (createMany sends NULL for what another row has set.)
  const event = await prisma.event.create({ data: { topic: 'orm/default', type: 'item.added' } });
  return event.id;
});

await scene('json', async () => {
  const event = await prisma.event.create({
    data: {
      topic: 'orm/json',
      type: 'item.added',
      payload: { item: { name: 'Lämpchen 灯', tags: ['new', 2, null], price: 9.5 } },
      headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
    },
  });
  return event.id;
});

await scene('retry', async () => {
  const pay = () => prisma.$transaction(async (tx) => {
    const data = { topic: 'orm/retry', type: 'item.paid', payload: { item: 7 }, dedupKey: 'item-7-paid' };
    return (await tx.event.create({ data })).id;
  });
  return [await pay(), await pay()];
});

await scene('clone', async () => {
  const event = await prisma.$transaction(async (tx) => {
    await tx.event.create({ data: { topic: 'orm/clone', type: 'item.added', payload: { item: 8 } } });
    return tx.event.findFirstOrThrow({ where: { topic: 'orm/clone' } });
  });
  const copy = await prisma.event.create({
    data: { ...event, payload: event.payload ?? Prisma.DbNull, headers: event.headers ?? Prisma.DbNull },
  });
  return [event.id, copy.id];
});

await scene('read', () => prisma.$transaction(async (tx) => {
  await tx.event.create({ data: { topic: 'orm/read', type: 'item.added', payload: { item: 9 } } });
  return (await tx.event.findFirstOrThrow({ where: { topic: 'orm/read' } })).id;
}));

await prisma.$disconnect();
