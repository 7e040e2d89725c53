import * as api from './api.js';
import { el } from './dom.js';
import { clock, t, zone } from './words.js';

// malformed is what the server says of a text that is no JWT.
const malformed = /^the token (?:is not (?!valid yet)|does not have the three parts)|^the token's header (?:is not|has no alg)/;

// signIn asks for a token, and calls done when the server has taken it. expired is when the
// one before did, or ''.
export function signIn(main, page, status, expired, done) {
  page.title(t('sign_in'));
  const problem = el('p', { class: 'problem', role: 'alert' }, status === 403 ? t('not_admin') : expired ? t('expired', { at: `${clock(expired, false)} ${zone(expired)}` }) : '');
  const token = el('textarea', {
    id: 'token', rows: 4, required: true, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off',
    'aria-describedby': 'token-hint', 'data-testid': 'token',
  });
  const button = el('button', { class: 'primary', 'data-testid': 'sign-in' }, t('sign_in'));
  const submit = async (e) => {
    e.preventDefault();
    button.disabled = true;
    problem.textContent = '';
    try {
      await api.signIn(token.value.trim().replace(/^Bearer\s+/i, ''));
      done();
    } catch (err) {
      problem.textContent = malformed.test(err.message) ? t('token_malformed') : api.explained(err);
      button.disabled = false;
      token.focus();
    }
  };
  token.addEventListener('keydown', (e) => {
    if (e.key !== 'Enter' || e.shiftKey) return;
    e.preventDefault();
    e.target.form.requestSubmit();
  });
  const elsewhere = el('p', { hidden: true }, el('a', { href: '/admin/login', 'data-testid': 'provider' }, t('sign_in_provider')));
  api.provider().then((path) => { elsewhere.hidden = !path; });
  main.append(
    el('section', { class: 'panel' },
      el('h1', {}, t('sign_in')),
      elsewhere,
      el('p', {}, t('sign_in_why')),
      el('form', { onsubmit: submit },
        el('label', { for: 'token' }, t('token')),
        token,
        el('p', { class: 'hint', id: 'token-hint' }, t('token_hint')),
        problem,
        button),
      el('p', { class: 'hint' }, t('token_how')),
      el('pre', { class: 'code' }, 'outcrier token --admin --subject me')),
  );
}
