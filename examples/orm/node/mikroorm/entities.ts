import { defineEntity, type InferEntity, p } from '@mikro-orm/core';

export const Event = defineEntity({
  name: 'Event',
  tableName: 'outbox',
  properties: {
    id: p.bigint('number').primary(),
    topic: p.text(),
    type: p.text(),
    payload: p.json().columnType('json').nullable(),
    source: p.text().nullable().defaultRaw(`'/'`),
    headers: p.json<Record<string, string>>().nullable(),
    dedupKey: p.text().nullable(),
    deliverAt: p.datetime().nullable(),
    createdAt: p.datetime().nullable().defaultRaw('now()'),
  },
});

export const Item = defineEntity({
  name: 'Item',
  properties: {
    id: p.bigint('number').primary().generated('by default as identity'),
    name: p.text(),
  },
});
