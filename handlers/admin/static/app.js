// The frame of the page: which view is shown, who looks, in which language.
import { onAnswer, signOut } from './api.js';
import { catalogue } from './catalogue.js';
import { el } from './dom.js';
import { event } from './event.js';
import { history } from './history.js';
import { overview } from './overview.js';
import { scheduled } from './scheduled.js';
import { signIn } from './signin.js';
import { streams } from './streams.js';
import { current, switchLanguage, t } from './words.js';

const $ = (id) => document.getElementById(id);
const views = { '': overview, streams, history, event, catalogue, scheduled };
const places = [['', 'overview'], ['streams', 'streams'], ['history', 'history'], ['catalogue', 'catalogue'], ['scheduled', 'scheduled']];

let leaving = new AbortController(); // ends what the present view does
let refused = 0; // 401 or 403 while nothing can be shown

// page is what views may do beyond their own element.
const page = {
  // every calls turn now, and again some time after it is done, while the page is
  // looked at.
  every(ms, turn) {
    const { signal } = leaving;
    let timer = 0;
    const run = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      try {
        await turn(signal);
      } catch (err) {
        if (!signal.aborted && err.status === undefined) throw err;
      }
      if (!signal.aborted) timer = setTimeout(run, ms);
    };
    document.addEventListener('visibilitychange', run, { signal });
    signal.addEventListener('abort', () => clearTimeout(timer));
    return run();
  },
  // notice says something in passing.
  notice(text, bad = false) {
    const box = el('p', { class: bad ? 'bad' : '' }, text);
    $('notice').replaceChildren(box);
    setTimeout(() => box.remove(), 6000);
  },
  // attempt calls what a button is for, and says so if it fails.
  async attempt(act) {
    try {
      return await act();
    } catch (err) {
      if (err.status === undefined && err.name !== 'AbortError') throw err;
      if (err.name !== 'AbortError') page.notice(err.status ? t('failed', { detail: err.message }) : t('no_answer'), true);
      return undefined;
    }
  },
  title(text) {
    document.title = `${text} – Outcrier`;
  },
  go(place, query) {
    const search = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value)).toString();
    const hash = `#/${place}${search ? `?${search}` : ''}`;
    if (hash === location.hash) show();
    else location.hash = hash;
  },
  get signal() {
    return leaving.signal;
  },
  signedIn(subject, expires) {
    $('leave').hidden = expires === null;
    $('leave').title = subject;
  },
};

function frame() {
  document.documentElement.lang = current() === 'zh' ? 'zh-CN' : 'en';
  $('skip').textContent = t('skip');
  $('nav').setAttribute('aria-label', t('nav'));
  $('language').textContent = t('other_language');
  $('language').setAttribute('aria-label', t('other_language_label'));
  $('language').lang = current() === 'zh' ? 'en' : 'zh-CN';
  $('leave').textContent = t('leave');
  const [place] = where();
  $('nav').replaceChildren(
    ...places.map(([to, word]) =>
      el('a', { href: `#/${to}`, 'aria-current': to === place || (to === 'history' && place === 'event') ? 'page' : null }, t(word))),
  );
  state($('state').dataset.state);
}

function where() {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const [place, ...rest] = path.split('/');
  return [views[place] ? place : '', rest, new URLSearchParams(search)];
}

function state(name) {
  $('state').dataset.state = name;
  $('state').textContent = t(name);
  $('state').hidden = refused !== 0;
}

// show renders the view of the address. The heading gets the focus when somebody
// went there, so that a screen reader says where it is.
function show(moved = true) {
  leaving.abort();
  leaving = new AbortController();
  frame();
  const main = $('main');
  const [place, rest, query] = where();
  $('nav').hidden = refused !== 0;
  main.replaceChildren();
  main.className = refused ? 'signin' : place || 'overview';
  if (refused) signIn(main, page, refused, () => { refused = 0; show(); });
  else views[place](main, page, query, rest);
  if (moved) {
    scrollTo(0, 0);
    const heading = main.querySelector('h1');
    heading?.setAttribute('tabindex', '-1');
    heading?.focus({ preventScroll: true });
  }
}

onAnswer((status) => {
  if ((status === 401 || status === 403) && refused !== status) {
    refused = status;
    page.signedIn('', status === 403 ? '' : null);
    show();
    return;
  }
  if (status < 500 || status === 503) state(status === 0 ? 'offline' : status === 503 ? 'database' : 'live');
});

addEventListener('hashchange', () => show());
$('skip').addEventListener('click', (e) => {
  e.preventDefault(); // the address is the view's
  $('main').focus();
});
$('language').addEventListener('click', () => {
  switchLanguage();
  show(false);
});
$('leave').addEventListener('click', async () => {
  await signOut();
  refused = 401;
  page.signedIn('', null);
  show();
});
show(false);
