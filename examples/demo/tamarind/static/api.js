import { problem, t } from './words.js';

// refusal is an error whose say gives its words, in the language of now.
export const refusal = (say, more = {}) => Object.assign(new Error(say()), { say }, more);

// ask is the API's JSON for a person, or a refusal in the words of its problem, with
// the problem's field and told.
export async function ask(person, path, options) {
  const response = await fetch(`/api/demo/people/${person}/${path}`, options).catch(() => {
    throw refusal(() => t('unreachable'));
  });
  const isJSON = /\bjson\b/.test(response.headers.get('Content-Type') ?? '');
  const content = isJSON ? await response.json() : {};
  if (response.ok && isJSON) return content;
  if (response.ok) throw refusal(() => t('unreachable')); // cut short, before it said what it is
  throw refusal(() => problem(content, response.status), { field: content.field, told: content.told });
}
