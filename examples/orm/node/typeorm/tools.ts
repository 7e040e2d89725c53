// What TypeORM's schema commands would do to a database with an outbox: tsx tools.ts postgres://…
import { DataSource } from 'typeorm';
import { scene, url } from '../scenes.ts';
import { Event, Item } from './entities.ts';

const db = await new DataSource({ type: 'postgres', url, entities: [Event, Item] }).initialize();

await scene('typeorm schema:log', async () => {
  const { upQueries } = await db.driver.createSchemaBuilder().log();
  if (upQueries.length > 0) throw new Error(upQueries.map(({ query }) => query).join('\n'));
});

await scene('typeorm schema:sync', () => db.synchronize());

await db.destroy();
