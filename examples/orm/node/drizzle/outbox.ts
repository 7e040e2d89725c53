import { bigserial, json, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core';

// A pgTable, since Drizzle can't insert into a pgView. It has a file of its own so that
// drizzle.config.ts doesn't give it to drizzle-kit, which would make a table of it.
export const outbox = pgTable('outbox', {
  id: bigserial({ mode: 'number' }).primaryKey(),
  topic: text().notNull(),
  type: text().notNull(),
  payload: json(),
  source: text(),
  headers: jsonb().$type<Record<string, string>>(),
  dedupKey: text('dedup_key'),
  deliverAt: timestamp('deliver_at', { withTimezone: true }),
  createdAt: timestamp('created_at', { withTimezone: true }),
});
