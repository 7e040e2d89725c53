import { call, explained, read } from './api.js';
import { confirm, el, sync } from './dom.js';
import { t } from './words.js';

const actions = ['none', 'refresh', 'retry', 'sign_in_again', 'contact_support', 'show_details'];

// catalogue shows what types mean, and changes it.
export function catalogue(main, page) {
  page.title(t('catalogue'));
  const list = el('ul', { class: 'types', 'data-testid': 'types' });
  const none = el('p', { class: 'empty loading' }, t('loading'));
  main.append(
    el('div', { class: 'head' }, el('h1', {}, t('catalogue')),
      page.can('catalogue') && el('button', { type: 'button', class: 'primary', 'data-testid': 'new-type', onclick: () => edit(page, null, refresh) }, t('new_type'))),
    el('p', { class: 'soft' }, t('catalogue_why')),
    el('section', { class: 'panel', 'aria-label': t('catalogue') }, none, list),
  );
  const refresh = async (signal = page.signal) => {
    const { types } = await read('catalogue', {}, signal);
    none.hidden = types.length > 0;
    none.classList.remove('loading');
    none.textContent = t('catalogue_none');
    sync(list, types, (entry) => entry.type, row);
  };
  const row = (entry) =>
    el('li', { 'data-severity': entry.severity },
      el('div', { class: 'text' },
        el('span', { class: 'line' }, el('strong', {}, entry.title), el('code', { class: 'type' }, entry.type), entry.code && el('span', { class: 'code-name' }, entry.code)),
        el('span', { class: 'soft' }, entry.description),
        el('ul', { class: 'chips' },
          el('li', { class: 'severity' }, t(`severity_${entry.severity}`)),
          entry.action !== 'none' && el('li', {}, entry.action),
          entry.payload_schema !== null && el('li', {}, t('has_schema')))),
      page.can('catalogue') && el('button', { type: 'button', 'data-testid': 'edit', 'aria-label': t('edit_type', { type: entry.type }), onclick: () => edit(page, entry, refresh) }, t('edit')));

  page.every(5000, refresh);
}

// edit opens the form for an entry, or, where it is null, for a new one; refresh shows what came of it.
function edit(page, entry, refresh) {
  const problem = el('p', { class: 'problem', role: 'alert' });
  const complain = (text) => {
    problem.textContent = text;
    problem.scrollIntoView({ block: 'nearest' });
  };
  const field = (name, input, hint) => el('label', { class: `field-${name}` }, t(name), input, hint && el('span', { class: 'hint' }, hint));
  const value = (name) => entry?.[name] ?? '';
  const schema = entry?.payload_schema == null ? '' : JSON.stringify(entry.payload_schema, null, 2);
  const description = el('textarea', { name: 'description', rows: 2, maxlength: 4000 });
  description.value = value('description');
  const schemaBox = el('textarea', { name: 'payload_schema', rows: 6, spellcheck: 'false', class: 'mono' });
  schemaBox.value = schema;
  const severity = el('select', { name: 'severity' }, ['info', 'warning', 'error'].map((name) => el('option', { value: name, selected: name === (entry?.severity ?? 'info') }, t(`severity_${name}`))));
  const submit = async (e) => {
    e.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    problem.textContent = '';
    try {
      given.payload_schema = given.payload_schema.trim() ? JSON.parse(given.payload_schema) : null;
    } catch (err) {
      complain(t('schema_bad', { detail: err.message }));
      return;
    }
    const saved = { ...given, type: entry?.type ?? given.type, code: given.code || null, ...(entry && { updated_at: entry.updated_at }) };
    try {
      if (entry) await call('PUT', `catalogue/${encodeURIComponent(entry.type)}`, { body: saved });
      else await call('POST', 'catalogue', { body: saved });
    } catch (err) {
      if (err.status === undefined) throw err;
      complain(explained(err));
      return;
    }
    dialog.close();
    page.notice(t('saved', { type: saved.type }));
    await page.attempt(refresh);
  };
  const remove = () =>
    page.attempt(async () => {
      if (!(await confirm(t('remove_title', { type: entry.type }), t('remove_text'), t('remove'), t('keep')))) return;
      await call('DELETE', `catalogue/${encodeURIComponent(entry.type)}`, { query: { updated_at: entry.updated_at } });
      dialog.close();
      page.notice(t('removed', { type: entry.type }));
      await refresh();
    });
  const form = el('form', { class: 'entry', onsubmit: submit },
    el('h2', { id: 'entry' }, entry ? t('edit_type', { type: entry.type }) : t('new_type')),
    field('type', el('input', { name: 'type', value: value('type'), required: true, disabled: Boolean(entry), maxlength: 255, spellcheck: 'false', autocomplete: 'off' }), t('type_form_hint')),
    field('code', el('input', { name: 'code', value: value('code'), maxlength: 64, autocomplete: 'off' }), t('code_hint')),
    field('title', el('input', { name: 'title', value: value('title'), required: true, maxlength: 200, autocomplete: 'off' })),
    field('description', description),
    field('severity', severity),
    field('action', el('input', { name: 'action', value: entry?.action ?? 'none', list: 'actions', required: true, maxlength: 63, autocomplete: 'off' }), t('action_hint')),
    el('datalist', { id: 'actions' }, actions.map((name) => el('option', { value: name }))),
    field('schema', schemaBox, t('schema_hint')),
    problem,
    el('div', { class: 'buttons' },
      entry && el('button', { type: 'button', class: 'bad left', 'data-testid': 'remove', onclick: remove }, t('remove')),
      el('button', { type: 'button', onclick: () => dialog.close() }, t('cancel')),
      el('button', { class: 'primary', 'data-testid': 'save' }, t('save'))));
  const dialog = el('dialog', { class: 'sheet', 'aria-labelledby': 'entry', onclose: () => dialog.remove() }, form);
  document.body.append(dialog);
  page.signal.addEventListener('abort', () => dialog.close());
  dialog.showModal();
}
