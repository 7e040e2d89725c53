import { defineConfig } from '@mikro-orm/postgresql';
import { url } from '../scenes.ts';
import { Event, Item } from './entities.ts';

export default defineConfig({
  clientUrl: url,
  entities: [Event, Item],
  // The schema generator and migrations leave the view and its schema alone.
  schemaGenerator: { skipTables: ['outbox'], ignoreSchema: ['outcrier'] },
});
