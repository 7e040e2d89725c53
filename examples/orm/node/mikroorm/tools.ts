// What MikroORM's schema generator would do to a database with an outbox: tsx tools.ts postgres://…
import { MikroORM } from '@mikro-orm/postgresql';
import { scene } from '../scenes.ts';
import config from './mikro-orm.config.ts';

const orm = await MikroORM.init(config);

await scene('mikro-orm schema:update', async () => {
  const diff = await orm.schema.getUpdateSchemaSQL({ wrap: false });
  if (diff.trim() !== '') throw new Error(diff);
  await orm.schema.updateSchema();
});

await scene('mikro-orm schema:drop, schema:create', async () => {
  await orm.schema.dropSchema();
  await orm.schema.createSchema();
});

await orm.close();
