// What Prisma's schema commands do to a database with an outbox: tsx tools.ts postgres://…
//
// The command line fetches its schema engine from elsewhere. npm has the same engine as WebAssembly, for driver adapters.
import { readFileSync } from 'node:fs';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import * as engines from '@prisma/schema-engine-wasm/schema_engine_bg';
import pg from 'pg';
import { scene, url } from '../scenes.ts';
import config from './prisma.config.ts';

const wasm = readFileSync(new URL('../node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm', import.meta.url));
const { instance } = await WebAssembly.instantiate(wasm, { './schema_engine_bg.js': engines as any });
engines.__wbg_set_wasm(instance.exports);
(instance.exports as any).__wbindgen_start();

// The engine reads columns of type "char" (18), which the adapter doesn't know; text (25) reads the same.
const pool = new pg.Pool({ connectionString: url });
const query = pool.query.bind(pool) as any;
pool.query = async (...args: any[]) => {
  const result = await query(...args);
  for (const field of result.fields) if (field.dataTypeID === 18) field.dataTypeID = 25;
  return result;
};

const content = readFileSync(new URL('schema.prisma', import.meta.url), 'utf8');
const schema = { files: [{ path: 'schema.prisma', content }] };
const filters = { externalTables: config.tables!.external!, externalEnums: [] };
const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg(pool));
const engine = await engines.SchemaEngine.new({ datamodels: [['schema.prisma', content]] }, () => {}, adapter);

await scene('prisma migrate diff', async () => {
  const { stdout } = await engine.diff({
    from: { tag: 'schemaDatasource', ...schema, configDir: '.' }, to: { tag: 'schemaDatamodel', ...schema },
    script: true, exitCode: null, filters,
  });
  if (!stdout?.includes('empty migration')) throw new Error(stdout ?? '');
});

await scene('prisma db push', async () => {
  const pushed = await engine.schemaPush({ force: false, schema, filters });
  if (pushed.executedSteps > 0) throw new Error(JSON.stringify(pushed));
});

// It also takes the model Event out of the schema file: put it back, or keep it in a file of its own under git.
await scene('prisma db pull', async () => {
  const pulled = await engine.introspect({ schema, baseDirectoryPath: '.', force: false, compositeTypeDepth: 0, namespaces: null });
  const models = pulled.schema.files.map((file) => file.content).join('');
  if (!models.includes('model Item') || /outcrier|scheduled/.test(models)) throw new Error(models);
});

await pool.end();
process.exit(); // the engine leaves a timer of a minute, which would keep the process
