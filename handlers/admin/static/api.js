import { inWords } from './problems.js';
import { t } from './words.js';

// Problem is an answer that is none: status 0 when there was no answer at all.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// explained is a problem in the language of the page.
export function explained(problem) {
  if (problem.status === 0) return t('no_answer');
  if (problem.message === 'the database is not available') return t('no_database');
  const name = { 403: 'not_allowed', 503: 'not_now' }[problem.status] ?? 'failed';
  return t(name, { detail: inWords(problem.message) });
}

const heard = new Set();

// onAnswer calls listen with the status of every answer, 0 for none.
export const onAnswer = (listen) => heard.add(listen);

const tell = (status, path) => heard.forEach((listen) => listen(status, path));

// call asks the API, and resolves to its answer, null where it has no body. A body that is
// a string is JSON already.
export async function call(method, path, { query, body, signal } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== '' && value != null);
  const url = `/admin/api/${path}${given.length ? `?${new URLSearchParams(given)}` : ''}`;
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const limit = AbortSignal.timeout(15000);
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: typeof body === 'string' ? body : JSON.stringify(body), signal: signal ? AbortSignal.any([signal, limit]) : limit });
  } catch (err) {
    if (signal?.aborted) throw err;
    tell(0);
    throw new Problem(0, '');
  }
  let said = null;
  try {
    if (answer.headers.get('Content-Type')?.includes('json')) said = await answer.json();
  } catch (err) {
    if (signal?.aborted) throw err; // in the midst of it
    if (answer.ok) {
      tell(0);
      throw new Problem(0, '');
    }
  }
  tell(answer.status, path);
  if (!answer.ok) throw new Problem(answer.status, said?.detail ?? answer.statusText);
  return said;
}

export const read = (path, query, signal) => call('GET', path, { query, signal });

// signIn makes a token the cookie of this origin.
export async function signIn(token) {
  const answer = await fetch('/session', { method: 'POST', headers: { Authorization: `Bearer ${token}` } }).catch(() => null);
  if (!answer) throw new Problem(0, '');
  if (!answer.ok) throw new Problem(answer.status, (await answer.json().catch(() => null))?.detail ?? answer.statusText);
}

// provider resolves to where signing in at a provider begins; null where there is none.
export async function provider() {
  const answer = await fetch('/admin/signin').catch(() => null);
  return answer?.ok ? (await answer.json().catch(() => null))?.login ?? null : null;
}

export const signOut = () => fetch('/session', { method: 'DELETE' }).catch(() => null);
