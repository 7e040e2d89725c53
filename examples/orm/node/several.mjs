// Runs programs one after another in one process, which loads their packages once:
// node --import tsx several.mjs main postgres://… main postgres://…, in the folder of an ORM.
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';

// resolve loads the modules of a program, without those of packages, anew for each run.
async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  const run = context.parentURL && new URL(context.parentURL).searchParams.get('run');
  return run && found.url.endsWith('.ts') ? { ...found, url: `${found.url}?run=${run}` } : found;
}
register(`data:text/javascript,${encodeURIComponent(`export ${resolve}`)}`);

const steps = process.argv.splice(2);
for (let i = 0; i < steps.length; i += 2) {
  console.log(JSON.stringify({ program: steps[i] }));
  process.argv[2] = steps[i + 1];
  await import(`${pathToFileURL(`${steps[i]}.ts`)}?run=${i / 2 + 1}`);
}
