import { defineConfig } from 'drizzle-kit';

export default defineConfig({
  dialect: 'postgresql',
  schema: './schema.ts', // without outbox.ts
  dbCredentials: { url: process.env.DATABASE_URL ?? '' },
  schemaFilter: ['public'], // the default: not the outbox's own schema
  tablesFilter: ['!outbox'], // push and pull don't see the view
});
