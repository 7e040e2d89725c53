// Sentences and figures for the screen, in the language of whoever looks.
import { strings } from './strings.js';

const key = 'outcrier.language';
const tags = { en: 'en-GB', zh: 'zh-CN' };

let language = preferred();
let formats = makeFormats();

// preferred is the language chosen before, or else the browser's first that is
// known. The storage may be forbidden.
function preferred() {
  try {
    const kept = localStorage.getItem(key);
    if (Object.hasOwn(strings, kept)) return kept;
  } catch {}
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => Object.hasOwn(strings, tag)) ?? 'en';
}

export const current = () => language;

export function switchLanguage() {
  language = language === 'en' ? 'zh' : 'en';
  formats = makeFormats();
  try {
    localStorage.setItem(key, language);
  } catch {}
}

function makeFormats() {
  const tag = tags[language];
  return {
    plural: new Intl.PluralRules(tag),
    money: new Intl.NumberFormat(tag, { style: 'currency', currency: 'EUR' }),
    clock: new Intl.DateTimeFormat(tag, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }),
    moment: new Intl.DateTimeFormat(tag, { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZoneName: 'short' }),
  };
}

const own = (name) => (Object.hasOwn(strings[language], name) ? strings[language][name] : undefined);

// known is a text with its values, or null for what there are no words for.
export function known(name, values = {}) {
  const text = (values.n !== undefined && own(`${name}.${formats.plural.select(Number(values.n))}`)) || own(name);
  return text?.replace(/\{(\w+)\}/g, (all, value) => (Object.hasOwn(values, value) ? straight(values[value]) : all)) ?? null;
}

// straight is a value without the characters that turn the direction of the words about it.
export const straight = (value) => String(value).replace(/[\u202A-\u202E\u2066-\u2069]/g, '');

export const t = (name, values) => known(name, values) ?? name;

// label fills in what stands in the page by name: data-t is an element's text, the
// others its attributes; data-values are the values, as JSON.
export function label(root) {
  const attributes = { tLabel: 'aria-label', tTitle: 'title', tPlaceholder: 'placeholder', tEmpty: 'data-empty' };
  for (const node of root.querySelectorAll('[data-t], [data-t-label], [data-t-title], [data-t-placeholder], [data-t-empty]')) {
    const values = JSON.parse(node.dataset.values ?? '{}');
    if (node.dataset.t) node.textContent = t(node.dataset.t, values);
    for (const [name, attribute] of Object.entries(attributes)) {
      if (node.dataset[name]) node.setAttribute(attribute, t(node.dataset[name], values));
    }
  }
}

export const price = (cents) => formats.money.format(cents / 100);
export const number = (n) => n.toLocaleString(tags[language]);

const format = (how, at) => (Number.isNaN(Date.parse(at)) ? '–' : formats[how].format(new Date(at)));
export const time = (at) => format('clock', at);
export const moment = (at) => format('moment', at);

export function change(p) {
  const percent = (100 * (p.price_cents - p.previous_cents)) / p.previous_cents;
  const figure = Math.abs(percent).toFixed(1);
  return `${figure === '0.0' ? '±' : percent < 0 ? '−' : '+'}${figure}\u00a0%`;
}

// span is a time in ms, short: 7 ms, 3.2 s, 4 min.
export function span(ms) {
  if (ms < 1) return '<\u00a01\u00a0ms';
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  if (ms < 60_000) return t('span.s', { x: (ms / 1000).toFixed(ms < 10_000 ? 1 : 0) });
  if (ms < 7_200_000) return t('span.min', { x: Math.round(ms / 60_000) });
  return t('span.h', { x: Math.round(ms / 3_600_000) });
}

// countdown is a time in seconds, short.
export const countdown = (s) => (s <= 120 ? t('span.s', { x: s }) : span(s * 1000));

// problem says what an answer of the API does.
export function problem({ code, values = [], detail }, status) {
  return known(`problem.${code}`, { ...values }) ?? detail ?? t('answered', { status });
}
