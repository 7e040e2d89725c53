import { problem, t } from './words.js';

// ask is the API's JSON for a person, or an error in the words of its problem, with
// the problem's field and told.
export async function ask(person, path, options) {
  const response = await fetch(`/api/demo/people/${person}/${path}`, options).catch(() => {
    throw new Error(t('unreachable'));
  });
  const isJSON = /\bjson\b/.test(response.headers.get('Content-Type') ?? '');
  const content = isJSON ? await response.json() : {};
  if (response.ok) return content;
  throw Object.assign(new Error(problem(content, response.status)), { field: content.field, told: content.told });
}
