import { bigint, pgTable, text } from 'drizzle-orm/pg-core';

export const item = pgTable('item', {
  id: bigint({ mode: 'number' }).primaryKey().generatedByDefaultAsIdentity(),
  name: text().notNull(),
});
