// Runs the scenes of a program and prints one line of JSON for each.
import { readFileSync } from 'node:fs';

export const url = process.argv[2];

// A bigint has no JSON, and drivers give int8 as text.
const line = (value: object) =>
  console.log(JSON.stringify(value, (key, v) => (typeof v === 'bigint' || /^\d+$/.test(v) ? Number(v) : v)));

export function stack(name: string, pkg: string) {
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${pkg}/package.json`, import.meta.url), 'utf8'));
  line({ stack: name, version });
}

// work returns the ids of its events.
export async function scene(name: string, work: () => Promise<unknown>) {
  try {
    line({ scene: name, ok: true, id: await work() });
  } catch (err) {
    console.error(err);
    line({ scene: name, ok: false, error: String(err) });
  }
}

export const skip = (name: string, reason: string) => line({ scene: name, skip: reason });
