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
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

const shown = new WeakMap(); // element → what it shows, as JSON

// sync makes list's children show things, in their order. An element stays as
// long as its thing is unchanged, so that a half-written note is not lost when
// something else arrives; one that is new or changed is marked fresh.
export function sync(list, things, keyOf, view) {
  const first = !list.dataset.ready;
  list.dataset.ready = 'true';
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
    if (!first) node.classList.add('fresh');
    shown.set(node, json);
    return node;
  });
  for (const node of old.values()) node.remove();
  nodes.forEach((node, i) => {
    if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null);
  });
}
