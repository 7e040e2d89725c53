// el makes an element. Attributes named on… are listeners; true is an empty
// attribute, false and null none. Strings among the children become text,
// never markup.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

const shown = new WeakMap(); // element → what it shows, as JSON

// sync makes list's children show things, in their order. An element stays as
// long as its thing and the language are unchanged; one that is new or changed is
// marked fresh. What is half written, and the focus, are kept.
export function sync(list, things, keyOf, view) {
  const { lang } = document.documentElement;
  const fresh = list.dataset.lang === lang;
  list.dataset.lang = lang;
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let focused = null;
  const nodes = things.map((thing) => {
    const key = String(keyOf(thing));
    const json = lang + JSON.stringify(thing);
    const kept = old.get(key);
    if (kept && shown.get(kept) === json) {
      old.delete(key);
      return kept;
    }
    const node = view(thing);
    node.dataset.key = key;
    if (fresh) node.classList.add('fresh');
    shown.set(node, json);
    if (kept) {
      const [before, after] = [controls(kept), controls(node)];
      before.forEach((control, i) => control.value && after[i] && (after[i].value = control.value));
      if (kept.contains(document.activeElement)) focused = after[before.indexOf(document.activeElement)];
    }
    return node;
  });
  for (const node of old.values()) node.remove();
  nodes.forEach((node, i) => {
    if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null);
  });
  focused?.focus({ preventScroll: true });
}

const controls = (node) => [...node.querySelectorAll('button, input')];
