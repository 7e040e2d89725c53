// What drizzle-kit does to a database with an outbox: tsx tools.ts postgres://…
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { scene, url } from '../scenes.ts';

function kit(...args: string[]) {
  const env = { ...process.env, DATABASE_URL: url };
  return execFileSync('../node_modules/.bin/drizzle-kit', args, { cwd: import.meta.dirname, env, encoding: 'utf8' });
}

await scene('drizzle-kit push --force', async () => {
  const said = kit('push', '--force');
  if (!said.includes('No changes detected')) throw new Error(said);
});

await scene('drizzle-kit pull', async () => {
  const out = mkdtempSync(`${tmpdir()}/drizzle-`);
  const said = kit('pull', `--dialect=postgresql`, `--url=${url}`, `--out=${out}`, '--tablesFilter=!outbox');
  const schema = readFileSync(`${out}/schema.ts`, 'utf8');
  if (!schema.includes('item') || /outbox|outcrier/.test(schema)) throw new Error(said + schema);
});
