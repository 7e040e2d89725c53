import { clock, stamp } from './words.js';

// el makes an element. Attributes named on… are listeners; true is an empty
// attribute, false and null none. Strings among the children become text, never
// markup.
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// svg is el for a drawing.
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

const shown = new WeakMap(); // element → what it shows, as JSON

// sync makes list's children show things, in their order. An element stays as long
// as its thing is unchanged; of one that is changed the focus stays where it was.
export function sync(list, things, keyOf, view) {
  let focused = null;
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const nodes = things.map((thing) => {
    const key = String(keyOf(thing));
    const json = JSON.stringify(thing);
    const kept = old.get(key);
    if (kept && shown.get(kept) === json) {
      old.delete(key);
      return kept;
    }
    const node = view(thing);
    node.dataset.key = key;
    shown.set(node, json);
    if (kept?.contains(document.activeElement)) focused = [node, controls(kept).indexOf(document.activeElement)];
    return node;
  });
  for (const node of old.values()) node.remove();
  nodes.forEach((node, i) => {
    if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null);
  });
  if (focused) controls(focused[0])[focused[1]]?.focus({ preventScroll: true });
}

const controls = (node) => [...node.querySelectorAll('a[href], button, input, summary')];

// table is a table whose rows become cards on a narrow screen: so each cell knows
// its column's name. Columns are [name, class]; that of the class act, for buttons,
// shows no name.
export function table(label, columns) {
  const body = el('tbody');
  const whole = el(
    'table',
    { 'aria-label': label },
    el('thead', {}, el('tr', {}, columns.map(([name, kind]) => el('th', { scope: 'col', class: kind }, kind === 'act' ? el('span', { class: 'unseen' }, name) : name)))),
    body,
  );
  const row = (attributes, ...cells) =>
    el('tr', attributes, cells.map((cell, i) => el('td', { class: columns[i][1], 'data-label': columns[i][0] }, el('div', {}, cell))));
  return { whole, body, row };
}

// showList shows a list that has n things, or, if it has none, the line that says so. It is no
// longer loading.
export function showList(list, none, n, text) {
  list.hidden = !n;
  none.hidden = n > 0;
  none.classList.remove('loading');
  none.textContent = text;
}

// broken is a name that a line may break behind each of its parts.
export const broken = (name) => name.split(/(?<=[./])/).flatMap((part, i) => (i ? [el('wbr'), part] : [part]));

// when is a time; looked at closely it has its day and zone.
export const when = (at, text = clock(at)) => el('time', { datetime: new Date(at).toISOString(), title: stamp(at) }, text);

// confirm asks before something is done that can't be undone, and resolves to
// whether it shall be.
export function confirm(title, text, yes, no) {
  return new Promise((resolve) => {
    const dialog = el(
      'dialog',
      { 'aria-labelledby': 'ask', onclose: () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); } },
      el('h2', { id: 'ask' }, title),
      el('p', {}, text),
      el('div', { class: 'buttons' },
        el('button', { type: 'button', autofocus: true, onclick: () => dialog.close('no') }, no),
        el('button', { type: 'button', class: 'bad', 'data-testid': 'yes', onclick: () => dialog.close('yes') }, yes)),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

// form asks for values and does something with them. Fields are [name, label, attributes,
// hint]; one with rows is a textarea. While act throws a Problem the dialog stays and says
// why, as problem puts it. It resolves to what act returns, or to undefined.
export function form({ title, text, fields, yes, no, bad, act, problem, signal }) {
  return new Promise((resolve) => {
    let answer;
    const wrong = el('p', { class: 'problem', role: 'alert' });
    const button = el('button', { class: bad ? 'bad' : 'primary', 'data-testid': 'do' }, yes);
    const input = ([name, label, { rows, value, ...more }, hint]) => {
      const control = el(rows ? 'textarea' : 'input', { name, rows, autocomplete: 'off', spellcheck: 'false', class: rows ? 'mono' : null, ...more });
      control.value = value ?? '';
      if (rows) control.setSelectionRange(0, 0); // else it opens at its end
      return el('label', {}, label, control, hint && el('span', { class: 'hint' }, hint));
    };
    const submit = async (e) => {
      e.preventDefault();
      wrong.textContent = '';
      button.disabled = true;
      try {
        answer = await act(Object.fromEntries(new FormData(e.target)));
        dialog.close();
      } catch (err) {
        if (err.status === undefined) throw err;
        wrong.textContent = problem(err);
        wrong.scrollIntoView({ block: 'nearest' });
      } finally {
        button.disabled = false;
      }
    };
    const dialog = el('dialog', { class: 'sheet', 'aria-labelledby': 'ask', onclose: () => { dialog.remove(); resolve(answer); } },
      el('form', { class: 'stack', onsubmit: submit },
        el('h2', { id: 'ask' }, title), text && el('p', {}, text), fields.map(input), wrong,
        el('div', { class: 'buttons' }, el('button', { type: 'button', onclick: () => dialog.close() }, no), button)));
    document.body.append(dialog);
    signal?.addEventListener('abort', () => dialog.close());
    dialog.showModal();
  });
}
