import { explained, read } from './api.js';
import { erase, redact, sendAgain } from './acts.js';
import { el, showList, sync, table, when } from './dom.js';
import { sqlBox } from './sql.js';
import { count, since, t } from './words.js';
import { perhaps, reason, whyForm } from './why.js';

// indented writes JSON over lines, token by token: parsing it would change large
// numbers and lose repeated keys.
export function indented(json) {
  const out = [];
  let depth = 0;
  let empty = false; // what was just opened has nothing in it yet
  // Deeper than the outbox takes comes from elsewhere, and would be mostly blanks.
  const line = () => `\n${'  '.repeat(Math.min(depth, 64))}`;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '}' || token === ']') {
      depth -= 1;
      if (empty) out.pop();
      else out.push(line());
      out.push(token);
    } else if (token === '{' || token === '[') {
      depth += 1;
      out.push(token, line());
    } else if (token === ',') out.push(token, line());
    else out.push(token === ':' ? ': ' : token);
    empty = token === '{' || token === '[';
  }
  return out.join('');
}

// event shows one, who was sent it, and what can be done with it.
export function event(main, page, _query, [id]) {
  page.title(t('event', { id }));
  const body = el('div', { class: 'detail' }, el('p', { class: 'empty loading' }, t('loading')));
  const acts = el('div', { class: 'buttons' });
  main.append(
    el('p', {}, el('a', { href: page.back('history'), onclick: () => page.returning() }, `← ${t('back')}`)),
    el('div', { class: 'head' }, el('h1', {}, t('event', { id })), acts), body);

  const show = (e) => {
    const fact = (name, value, code) => value && [el('dt', {}, t(name)), el('dd', {}, code ? el('code', {}, value) : value)];
    const text = el('pre', { class: 'code payload', tabindex: '0', 'aria-label': t('payload'), 'data-testid': 'payload' });
    const toggle = el('button', { type: 'button', class: 'quiet' });
    let pretty = true;
    const print = () => {
      text.textContent = pretty ? indented(e.payload) : e.payload;
      toggle.textContent = pretty ? t('as_appended') : t('indented');
    };
    toggle.addEventListener('click', () => { pretty = !pretty; print(); });
    print();
    const sql = sqlBox(page);
    sql.show(e.sql);
    const act = (name, grant, does, bad) =>
      page.can(grant) && el('button', { type: 'button', class: bad ? 'bad' : null, 'data-testid': name, onclick: () => page.attempt(does) }, t(name));
    acts.replaceChildren(...[
      act('again', 'operate', () => sendAgain(page, e)),
      act('redact', 'erase', () => redact(page, e, indented(e.payload)), true),
      act('erase', 'erase', () => erase(page, e, () => page.go('erased')), true),
    ].filter(Boolean));
    body.replaceChildren(
      el('section', { class: 'panel facts' },
        e.title && el('p', { class: 'meaning', 'data-severity': e.severity }, el('strong', {}, e.title), ' ', e.description),
        el('dl', {},
          fact('type', e.type, true), fact('topic', el('a', { href: `#/history?${new URLSearchParams({ topic: e.topic })}` }, e.topic)),
          fact('time', [when(e.created_at), ` (${since(e.created_at)})`]), fact('source', e.source, true),
          fact('publisher', e.publisher && el('a', { href: `#/people/${encodeURIComponent(e.publisher)}`, 'data-testid': 'publisher' }, e.publisher)),
          e.headers?.resentof && fact('again_of', el('a', { href: `#/event/${e.headers.resentof}` }, t('event', { id: e.headers.resentof }))),
          fact('code', e.code), e.action && e.action !== 'none' && fact('action', e.action, true),
          fact('dedup_key', e.dedup_key, true), fact('xid', String(e.xid), true),
          e.headers && fact('headers', el('ul', { class: 'chips' }, Object.entries(e.headers).map(([name, value]) => el('li', {}, `${name}: ${value}`)))))),
      el('section', { class: 'panel', 'aria-labelledby': 'payload' },
        el('div', { class: 'head' }, el('h2', { id: 'payload' }, t('payload'), ' ', el('span', { class: 'soft' }, t('size', { n: count(new TextEncoder().encode(e.payload).length) }))), toggle),
        text),
      sql.whole,
      receipts(page, id, e.receipts_sql),
      whyForm(page, { id }),
    );
  };
  let done = false;
  page.every(5000, async (signal) => {
    if (done) return;
    try {
      show(await read(`history/${encodeURIComponent(id)}`, {}, signal));
      done = true;
    } catch (err) {
      if (signal.aborted || (err.status !== 404 && err.status !== 400)) throw err;
      done = true;
      body.replaceChildren(el('p', { class: 'problem', role: 'alert' }, err.status === 404 ? t('not_held', { id }) : explained(err)), err.status === 404 && whyForm(page, { id }));
    }
  });
}

function receipts(page, id, statement) {
  const list = table(t('receipts'), [[t('subject')], [t('node')], [t('between'), 'wide'], [t('state')]]);
  const none = el('p', { class: 'empty loading', role: 'status' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(next) }, t('older'));
  const sql = sqlBox(page);
  const unsure = el('p', { class: 'hint', hidden: true }, t('perhaps_why'));
  sql.show(statement);
  let all = [];
  let paged = false;
  const show = (found) => {
    sync(list.body, all, (r) => `${r.run}.${r.stream}`, (r) =>
      list.row({ 'data-testid': 'receipt' },
        [r.subject ? el('a', { href: `#/people/${encodeURIComponent(r.subject)}` }, el('strong', {}, r.subject)) : el('strong', {}, t('anonymous')), el('span', { class: 'under' }, r.client_address)],
        r.node,
        [when(r.sent_after), '\u00a0– ', when(r.sent_before)],
        [r.closed_at ? reason(r) : t('still_open'), r.perhaps && perhaps()]));
    unsure.hidden = !all.some((r) => r.perhaps);
    showList(list.whole, none, all.length, found.audit ? t('receipts_none') : t('receipts_off'));
    more.hidden = !found.more;
  };
  const next = async () => {
    paged = true;
    const { run, stream } = all.at(-1);
    const found = await read(`history/${encodeURIComponent(id)}/receipts`, { run, stream }, page.signal);
    all = [...all, ...found.receipts];
    show(found);
  };
  list.whole.hidden = true;
  page.every(3000, async (signal) => {
    if (paged) return; // open streams are on record some seconds later
    const found = await read(`history/${encodeURIComponent(id)}/receipts`, {}, signal);
    all = found.receipts;
    show(found);
  });
  return el('section', { class: 'panel' }, el('h2', {}, t('receipts')), el('p', { class: 'soft' }, t('receipts_why')), none, unsure, list.whole, el('div', { class: 'more' }, more), sql.whole);
}
