import { readCatalogue } from './catalogue.js';
import { Pane } from './pane.js';
import { current, label, number, switchLanguage, t } from './words.js';

const desk = document.getElementById('desk');
const tabs = document.getElementById('switch');
const solo = desk.classList.contains('solo');
const unseen = new Map(); // person → how many events

const panes = [...desk.children].map((root) => new Pane(root, solo, changed));
if (tabs) for (const root of desk.children) tabs.append(tab(root));
look(desk.firstElementChild.dataset.person);
speak();
rememberTour();

document.getElementById('language').addEventListener('click', () => {
  switchLanguage();
  speak();
});
document.getElementById('traffic').addEventListener('click', switchTraffic);
await readCatalogue();
for (const pane of panes) pane.start();

// tab is the button that brings a desk to the front, where there is no room for all.
function tab({ dataset: { person, title, role } }) {
  const button = document.createElement('button');
  button.type = 'button';
  Object.assign(button.dataset, { person, testid: `tab-${person}` });
  const avatar = Object.assign(document.createElement('span'), { className: `avatar who-${person}`, textContent: title[0], ariaHidden: 'true' });
  const name = Object.assign(document.createElement('span'), { className: 'name', textContent: title.split(' ')[0] });
  const kind = Object.assign(document.createElement('span'), { className: 'role' });
  kind.dataset.t = `role.${role}`;
  const news = Object.assign(document.createElement('b'), { className: 'news', hidden: true });
  button.append(avatar, name, kind, news);
  button.addEventListener('click', () => look(person));
  return button;
}

function look(person) {
  unseen.delete(person);
  for (const root of desk.children) root.classList.toggle('front', root.dataset.person === person);
  for (const button of tabs?.children ?? []) {
    button.setAttribute('aria-pressed', String(button.dataset.person === person));
    if (button.dataset.person === person) button.querySelector('.news').hidden = true;
  }
}

// changed keeps the tabs up to date.
function changed(pane, event) {
  const button = tabs?.querySelector(`[data-person=${pane.person}]`);
  if (!button) return;
  button.dataset.status = pane.status;
  if (!event || desk.querySelector(`.pane[data-person=${pane.person}]`).checkVisibility()) return;
  const n = (unseen.get(pane.person) ?? 0) + 1;
  unseen.set(pane.person, n);
  Object.assign(button.querySelector('.news'), { textContent: number(n), hidden: false });
}

// switchTraffic has the imaginary users act, or stop.
async function switchTraffic({ currentTarget: button }) {
  const on = button.getAttribute('aria-checked') !== 'true';
  const headers = { 'Content-Type': 'application/json' };
  const response = await fetch('/api/demo/traffic', { method: 'POST', headers, body: JSON.stringify({ on }) }).catch(() => null);
  if (response?.ok) button.setAttribute('aria-checked', String(on));
}

// speak says all in the language of now.
function speak() {
  document.documentElement.lang = current() === 'zh' ? 'zh-CN' : 'en';
  label(document);
  document.getElementById('language').lang = current() === 'zh' ? 'en' : 'zh-CN';
  for (const node of document.querySelectorAll('.people a')) {
    const { title: name, role } = node.dataset;
    node.setAttribute('aria-label', t('people-link', { name, role: t(`role.${role}`) }));
    node.title = `${name}, ${t(`role.${role}`)}`;
  }
  for (const node of document.querySelectorAll('[data-about]:not(.pane)')) {
    const name = `about.${node.closest('.pane').dataset.person}`;
    node.textContent = t(name) === name ? node.dataset.about : t(name);
  }
  for (const pane of panes) pane.relabel();
}

// The tour stays shut for those who shut it.
function rememberTour() {
  const tour = document.getElementById('tour');
  if (!tour) return;
  const key = 'tamarind.tour';
  try {
    tour.open = (localStorage.getItem(key) ?? (innerWidth < 700 ? 'shut' : 'open')) === 'open';
    tour.addEventListener('toggle', () => localStorage.setItem(key, tour.open ? 'open' : 'shut'));
  } catch {
    // The storage is forbidden: it opens each time.
  }
}
