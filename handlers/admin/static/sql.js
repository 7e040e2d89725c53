import { el } from './dom.js';
import { t } from './words.js';

// sqlBox shows a statement to copy. Its show sets the statement.
export function sqlBox(page, title = t('as_sql'), open = false) {
  const code = el('pre', { class: 'code', tabindex: '0', 'data-testid': 'sql', 'aria-label': title });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // not over plain HTTP: mark it for the keyboard
      return;
    }
    page.notice(t('copied'));
  };
  return {
    show: (text) => { code.textContent = text; },
    whole: el('details', { class: 'sql', open },
      el('summary', {}, title),
      el('div', {}, code, el('button', { type: 'button', onclick: copy }, t('copy')))),
  };
}
