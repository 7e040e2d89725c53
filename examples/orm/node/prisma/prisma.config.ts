import { defineConfig } from 'prisma/config';

export default defineConfig({
  schema: 'schema.prisma',
  experimental: { externalTables: true },
  tables: { external: ['public.outbox'] },
  datasource: { url: process.env.DATABASE_URL ?? '' },
});
