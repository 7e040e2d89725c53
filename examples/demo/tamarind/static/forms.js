// What each form of a desk sends, and where.
const number = (text) => (text === '' ? 0 : Number(text));
const forms = {
  ask: ['items', (f) => ({ title: f.get('title'), symbol: f.get('symbol'), quantity: number(f.get('quantity')) })],
  login: ['login', (f) => ({ pin: f.get('pin') })],
  announce: ['maintenance', (f) => ({ note: f.get('note'), starts_in: number(f.get('starts_in')), lasts: number(f.get('lasts')) })],
};

// handleForms sends a desk's forms by act(button, method, path, body).
export function handleForms(root, act) {
  for (const form of root.querySelectorAll('form')) {
    form.addEventListener('input', () => wrong(form, null));
    form.addEventListener('submit', async (e) => {
      e.preventDefault();
      const [path, read] = forms[form.dataset.form];
      const button = e.submitter ?? form.querySelector('button');
      const focused = document.activeElement === button;
      const done = await act(button, 'POST', path, read(new FormData(form)));
      if (done) form.reset();
      if (done && focused) button.focus(); // which it lost, disabled
    });
  }
}

const told = new WeakMap(); // form → what says what is wrong

// wrong shows by a form what is wrong with a field, as say says it; null takes it away.
export function wrong(form, say, field) {
  if (!form) return;
  told.set(form, say);
  form.querySelector('.wrong').textContent = say?.() ?? '';
  for (const input of form.elements) input.removeAttribute('aria-invalid');
  const input = say && form.elements.namedItem(field);
  if (!input) return;
  input.setAttribute('aria-invalid', 'true');
  input.focus();
  form.querySelector('.wrong').scrollIntoView({ block: 'nearest' });
}

// relabel says again what is wrong by the forms of a desk, in the language of now.
export function relabel(root) {
  for (const form of root.querySelectorAll('form')) form.querySelector('.wrong').textContent = told.get(form)?.() ?? '';
}
