// The frame of the page: which view is shown, to whom, in which language and time zone.
import { explained, onAnswer, read, signOut } from './api.js';
import { catalogue } from './catalogue.js';
import { el } from './dom.js';
import { erased } from './erased.js';
import { event } from './event.js';
import { history } from './history.js';
import { overview } from './overview.js';
import { people } from './people.js';
import { requests } from './requests.js';
import { scheduled } from './scheduled.js';
import { signIn } from './signin.js';
import { streams } from './streams.js';
import { trends } from './trends.js';
import { clock, current, switchLanguage, switchZone, t, zone } from './words.js';

const $ = (id) => document.getElementById(id);
const views = { '': overview, people, streams, history, event, erased, trends, catalogue, scheduled, requests };
const places = [['', 'overview'], ['people', 'people'], ['streams', 'streams'], ['history', 'history'], ['trends', 'trends'], ['catalogue', 'catalogue'], ['scheduled', 'scheduled'], ['requests', 'requests']];
const under = { event: 'history', erased: 'history' };

let leaving = new AbortController(); // ends what the present view does
let refused = 0; // 401 or 403 while nothing can be shown
let session = null; // who is signed in, and what the token grants
const lately = {}; // by place, its address when it was last shown
let returning = false; // the next view goes on where it was left
let clicked = false; // the next change of the address comes from the page, not from the browser's history

// page is what views may do beyond their own element.
const page = {
  // every calls turn now, and again some time after it is done, while the page is
  // looked at. While it fails, the page says so.
  every(ms, turn) {
    const { signal } = leaving;
    let timer = 0;
    const run = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      try {
        await turn(signal);
        page.trouble(null);
      } catch (err) {
        if (!signal.aborted && err.status === undefined) throw err;
        if (!signal.aborted) page.trouble(err);
      }
      if (!signal.aborted) timer = setTimeout(run, ms);
    };
    document.addEventListener('visibilitychange', run, { signal });
    signal.addEventListener('abort', () => clearTimeout(timer));
    return run();
  },
  // trouble says above the view that it is not up to date, and why; null takes it back.
  trouble(err) {
    const box = $('trouble');
    const missing = document.querySelectorAll('#main .loading'); // what was never read
    const text = err && err.status !== 401 ? troubled(err, missing.length === 0) : '';
    if (box.textContent !== text) box.textContent = text;
    $('main').classList.toggle('stale', text !== '');
    if (text) for (const each of missing) each.textContent = t('not_read');
  },
  // notice says something in passing.
  notice(text, bad = false) {
    const box = el('p', { class: bad ? 'bad' : '' }, text);
    $('notice').replaceChildren(box);
    setTimeout(() => box.remove(), 8000);
  },
  // attempt calls what a button is for, and says so if it fails.
  async attempt(act) {
    try {
      return await act();
    } catch (err) {
      if (err.status === undefined && err.name !== 'AbortError') throw err;
      // The line above the view, or the page to sign in, may say it already.
      if (err.name !== 'AbortError' && err.status !== 401 && !$('trouble').textContent.startsWith(explained(err))) page.notice(explained(err), true);
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
    else [clicked, location.hash] = [true, hash];
  },
  // back is the address at which a place was last shown. returning has the next view go on
  // where it was left, as when the browser goes back.
  back: (place) => lately[place] ?? `#/${place}`,
  returning() {
    returning = true;
  },
  // can reports whether the token has a grant, as far as is known.
  can: (grant) => session === null || session.grants.includes(grant),
  get signal() {
    return leaving.signal;
  },
};

// troubled is what the line above the view says: a view that was read stays, and is asked for
// again.
function troubled(err, shown) {
  if (err.status !== 0 && err.status !== 503) return explained(err);
  return [explained(err), shown && t('last_known'), t('retrying')].filter(Boolean).join(current() === 'zh' ? '' : ' ');
}

const expiresKey = 'outcrier.expires';

// signedIn records who is signed in. The time at which the token expires is kept, so
// that the page can say later that it has.
function signedIn(who) {
  session = who;
  if (who?.expires) sessionStorage.setItem(expiresKey, who.expires);
  $('leave').hidden = !who?.expires && refused !== 403;
  $('who').textContent = who?.subject ?? '';
  $('who').title = who?.expires ? t('expires', { at: `${clock(who.expires, false)} ${zone(who.expires)}` }) : '';
}

async function whoAmI() {
  try {
    signedIn(await read('identity'));
    if (session.grants.length < 5) show(false); // some actions are not granted
  } catch (err) {
    if (err.status === undefined) throw err;
    if (!refused) setTimeout(whoAmI, 5000);
  }
}

function frame() {
  document.documentElement.lang = current() === 'zh' ? 'zh-CN' : 'en';
  $('skip').textContent = t('skip');
  $('nav').setAttribute('aria-label', t('nav'));
  $('language').textContent = t('other_language');
  $('language').setAttribute('aria-label', t('other_language_label'));
  $('language').lang = current() === 'zh' ? 'en' : 'zh-CN';
  $('zone').textContent = zone();
  $('zone').setAttribute('aria-label', t('zone', { zone: zone() }));
  $('zone').title = t('zone', { zone: zone() });
  $('leave').textContent = t('leave');
  const [place] = where();
  $('nav').replaceChildren(
    ...places.map(([to, word]) =>
      el('a', { href: `#/${to}`, 'aria-current': to === (under[place] ?? place) ? 'page' : null }, t(word))),
  );
  centre();
  state($('state').dataset.state);
}

// centre has the bar of places show the present one, where the bar is too narrow for all.
function centre() {
  const [bar, here] = [$('nav'), $('nav').querySelector('[aria-current]')];
  if (here) bar.scrollLeft = here.offsetLeft - bar.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
  fade();
}

// fade marks the ends of the bar at which there is more.
function fade() {
  const { scrollLeft, clientWidth, scrollWidth } = $('nav');
  $('nav').classList.toggle('before', scrollLeft > 4);
  $('nav').classList.toggle('after', scrollLeft + clientWidth < scrollWidth - 4);
}

function where() {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const [place, ...rest] = path.split('/');
  return [views[place] ? place : '', rest.map(decoded), new URLSearchParams(search)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function state(name) {
  $('state').dataset.state = name;
  $('state').textContent = t(name);
  $('state').hidden = refused !== 0;
}

// show renders the view of the address. If the address has moved there, the heading gets the
// focus, so that a screen reader says where it is.
function show(moved = true) {
  leaving.abort();
  leaving = new AbortController();
  page.trouble(null);
  frame();
  const main = $('main');
  const [place, rest, query] = where();
  page.returned = returning;
  returning = false;
  lately[place] = location.hash;
  $('nav').hidden = $('zone').hidden = refused !== 0;
  main.replaceChildren();
  main.className = refused ? 'signin' : place || 'overview';
  if (refused) signIn(main, page, refused, expired(), () => { refused = 0; sessionStorage.removeItem(expiresKey); whoAmI(); show(); });
  else views[place](main, page, query, rest);
  if (moved) {
    if (!page.returned) scrollTo(0, 0);
    const heading = main.querySelector('h1');
    heading?.setAttribute('tabindex', '-1');
    heading?.focus({ preventScroll: true });
  }
}

// expired returns when the token expired that was signed in, or ''. Its cookie goes up to a
// second before.
function expired() {
  const at = sessionStorage.getItem(expiresKey) ?? '';
  return at && Date.parse(at) <= Date.now() + 2000 ? at : '';
}

onAnswer((status, path) => {
  // 403 of a route is said where it is asked; without any grant there is no page.
  if ((status === 401 || (status === 403 && path === 'identity')) && refused !== status) {
    refused = status;
    signedIn(null);
    show();
    return;
  }
  // Who is signed in is known without the database: that answer says nothing of it.
  if (path === 'identity' && status === 200 && $('state').dataset.state === 'database') return;
  if (status < 500 || status === 503) state(status === 0 ? 'offline' : status === 503 ? 'database' : 'live');
});

new ResizeObserver(centre).observe($('nav'));
$('nav').addEventListener('scroll', fade);
addEventListener('hashchange', () => show());
globalThis.history.scrollRestoration = 'manual';
addEventListener('popstate', () => {
  returning = returning || !clicked;
  clicked = false;
});
addEventListener('click', (e) => {
  if (e.target.closest?.('a[href^="#"]')) clicked = true;
}, { capture: true });
$('skip').addEventListener('click', (e) => {
  e.preventDefault(); // the address is the view's
  $('main').focus();
});
$('language').addEventListener('click', () => {
  switchLanguage();
  show(false);
});
$('zone').addEventListener('click', () => {
  switchZone();
  show(false);
});
$('leave').addEventListener('click', async () => {
  await signOut();
  sessionStorage.removeItem(expiresKey);
  refused = 401;
  signedIn(null);
  show();
});
show(false);
whoAmI();
