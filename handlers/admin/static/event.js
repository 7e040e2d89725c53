import { read } from './api.js';
import { el, table } from './dom.js';
import { sqlBox } from './sql.js';
import { clock, count, known, since, t } from './words.js';

// indented writes JSON over lines, token by token: parsing it would change large
// numbers and lose repeated keys.
export function indented(json) {
  let out = '';
  let depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '{' || token === '[') {
      depth += 1;
      out += token + line();
    } else if (token === '}' || token === ']') {
      depth -= 1;
      out = /[{[]\s*$/.test(out) ? out.trimEnd() + token : out + line() + token;
    } else if (token === ',') out += token + line();
    else out += token === ':' ? ': ' : token;
  }
  return out;
}

// event shows one, and who was sent it.
export function event(main, page, _query, [id]) {
  page.title(t('event', { id }));
  const body = el('div', { class: 'detail' }, el('p', { class: 'empty' }, t('loading')));
  main.append(el('p', {}, el('a', { href: '#/history' }, `← ${t('back')}`)), el('h1', {}, t('event', { id })), body);

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
    body.replaceChildren(
      el('section', { class: 'panel facts' },
        e.title && el('p', { class: 'meaning', 'data-severity': e.severity }, el('strong', {}, e.title), ' ', e.description),
        el('dl', {},
          fact('type', e.type, true), fact('topic', el('a', { href: `#/history?${new URLSearchParams({ topic: e.topic })}` }, e.topic)),
          fact('time', el('time', { datetime: e.created_at }, `${clock(e.created_at)} (${since(e.created_at)})`)), fact('source', e.source, true),
          fact('code', e.code), e.action && e.action !== 'none' && fact('action', e.action, true),
          fact('dedup_key', e.dedup_key, true), fact('xid', String(e.xid), true),
          e.headers && fact('headers', el('ul', { class: 'chips' }, Object.entries(e.headers).map(([name, value]) => el('li', {}, `${name}: ${value}`)))))),
      el('section', { class: 'panel', 'aria-labelledby': 'payload' },
        el('div', { class: 'head' }, el('h2', { id: 'payload' }, t('payload'), ' ', el('span', { class: 'soft' }, t('size', { n: count(new TextEncoder().encode(e.payload).length) }))), toggle),
        text),
      sql.whole,
      receipts(page, id, e.receipts_sql),
    );
  };
  page.every(3600000, async (signal) => {
    try {
      show(await read(`history/${encodeURIComponent(id)}`, {}, signal));
    } catch (err) {
      if (signal.aborted) return;
      if (err.status === undefined) throw err;
      body.replaceChildren(el('p', { class: 'problem', role: 'alert' }, err.status ? err.message : t('no_answer')));
    }
  });
}

function receipts(page, id, statement) {
  const list = table(t('receipts'), [[t('subject')], [t('node')], [t('between'), 'wide'], [t('state')]]);
  const none = el('p', { class: 'empty', role: 'status' }, t('loading'));
  const more = el('button', { type: 'button', hidden: true, onclick: () => page.attempt(() => next(page.signal)) }, t('older'));
  const sql = sqlBox(page);
  sql.show(statement);
  let last = {};
  const next = async (signal) => {
    const found = await read(`history/${encodeURIComponent(id)}/receipts`, last, signal);
    if (!last.run) list.body.replaceChildren();
    for (const r of found.receipts) {
      last = { run: r.run, stream: r.stream };
      list.body.append(list.row({ 'data-testid': 'receipt' },
        [el('strong', {}, r.subject || t('anonymous')), el('span', { class: 'under' }, r.client_address)],
        r.node,
        `${clock(r.sent_after)} – ${clock(r.sent_before)}`,
        r.closed_at ? (known(`why_${r.end_reason}`) ?? r.end_reason ?? '') : t('open')));
    }
    const any = list.body.children.length > 0;
    list.whole.hidden = !any;
    none.hidden = any;
    none.textContent = found.audit ? t('receipts_none') : t('receipts_off');
    more.hidden = !found.more;
  };
  list.whole.hidden = true;
  page.every(3000, async (signal) => {
    if (!last.run) await next(signal); // till there are some
  });
  return el('section', { class: 'panel' }, el('h2', {}, t('receipts')), el('p', { class: 'soft' }, t('receipts_why')), none, list.whole, el('div', { class: 'more' }, more), sql.whole);
}
