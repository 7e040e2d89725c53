// Words and figures, in the language of whoever looks.
import en from './en.js';
import zh from './zh.js';

const languages = { en, zh };
const key = 'outcrier.language';

function preferred() {
  const kept = localStorage.getItem(key);
  if (languages[kept]) return kept;
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => languages[tag]) ?? 'en';
}

let language = preferred();

export const current = () => language;

export function switchLanguage() {
  language = language === 'en' ? 'zh' : 'en';
  localStorage.setItem(key, language);
}

// t is a sentence, with the values in its braces.
export function t(name, values = {}) {
  const text = languages[language][name] ?? en[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (all, value) => values[value] ?? all);
}

// known is t, or null for what there is no word for.
export const known = (name) => (Object.hasOwn(languages[language], name) ? t(name) : null);

const tag = () => ({ en: 'en-GB', zh: 'zh-CN' })[language];
const pad = (n, width = 2) => String(n).padStart(width, '0');

export const count = (n) => n.toLocaleString(tag());

export function figure(n) {
  return n.toLocaleString(tag(), { maximumFractionDigits: n < 10 ? 1 : 0 });
}

// clock is a time of the day to the millisecond; with the day if it is another.
export function clock(at, precise = true) {
  const d = new Date(at);
  const time = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}${precise ? `.${pad(d.getMilliseconds(), 3)}` : ''}`;
  return d.toDateString() === new Date().toDateString() ? time : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${time}`;
}

const steps = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

// age is a span of seconds in its largest unit: 40 ms, 3.2 sec, 4 min.
export function age(seconds) {
  if (seconds < 1 && seconds > 0) return unit(Math.max(1, Math.round(seconds * 1000)), 'millisecond');
  const [name, length] = steps.find(([, length]) => seconds >= length) ?? steps.at(-1);
  const n = seconds / length;
  return unit(n < 10 && name !== 'minute' ? Math.floor(n * 10) / 10 : Math.floor(n), name);
}

const unit = (n, name) => n.toLocaleString(language === 'en' ? 'en' : tag(), { style: 'unit', unit: name, unitDisplay: 'short' });

export const since = (at, now = Date.now()) => t('ago', { age: age(Math.max(0, (now - new Date(at)) / 1000)) });

// toward is how long it is to a time, or since.
export function toward(at, now = Date.now()) {
  const seconds = (new Date(at) - now) / 1000;
  return seconds > 0 ? t('in', { age: age(seconds) }) : t('overdue');
}
