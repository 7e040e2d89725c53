// Words and figures, in the language of the reader.
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

const zoneKey = 'outcrier.zone';
let utc = localStorage.getItem(zoneKey) === 'utc';

export function switchZone() {
  utc = !utc;
  localStorage.setItem(zoneKey, utc ? 'utc' : 'local');
}

// zone names the time zone that times are shown in: UTC, or UTC+8.
export function zone(at = new Date()) {
  const minutes = utc ? 0 : -new Date(at).getTimezoneOffset();
  if (!minutes) return 'UTC';
  return `UTC${minutes < 0 ? '−' : '+'}${Math.trunc(Math.abs(minutes) / 60)}${minutes % 60 ? `:${pad(Math.abs(minutes) % 60)}` : ''}`;
}

// shifted has the time of the zone in its UTC fields.
const shifted = (at) => (utc ? new Date(at) : new Date(new Date(at) - new Date(at).getTimezoneOffset() * 60000));
const day = (at) => shifted(at).toISOString().slice(0, 10);

// clock is a time of the day; with the day if that is not today.
export function clock(at, precise = true) {
  const time = shifted(at).toISOString().slice(11, precise ? 23 : 19);
  return day(at) === day(new Date()) ? time : `${day(at)} ${time}`;
}

// stamp is a time with its day and zone, and in UTC.
export function stamp(at) {
  const own = `${day(at)} ${shifted(at).toISOString().slice(11, 23)} ${zone(at)}`;
  return utc ? own : `${own} (${new Date(at).toISOString()})`;
}

// typed is a time as fields have it, and moment reads such a field: a time in the zone,
// one as ISO 8601 has it, or how long ago, like 90m, 2h or 7d. It returns null for
// anything else.
export const typed = (iso) => (!iso || /^\d+[smhd]$/.test(iso) || Number.isNaN(Date.parse(iso)) ? iso : `${day(iso)} ${shifted(iso).toISOString().slice(11, 19)}`);

export function moment(text, now = Date.now()) {
  const ago = /^(\d{1,6})\s*([smhd])$/.exec(text.trim());
  if (ago) return new Date(now - ago[1] * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[ago[2]]).toISOString();
  const given = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?(Z|[+-]\d\d:\d\d)?$/.exec(text.trim());
  if (!given) return null;
  const at = new Date(`${given[1]}T${given[2] ?? '00:00'}${given[3] ?? (utc ? 'Z' : '')}`);
  return Number.isNaN(at.valueOf()) ? null : at.toISOString();
}

const steps = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

// age is a span of seconds in its largest unit: 40 ms, 3.2 sec, 4 min.
export function age(seconds) {
  if (seconds < 1 && seconds > 0) return unit(Math.max(1, Math.round(seconds * 1000)), 'millisecond');
  const [name, length] = steps.find(([, length]) => seconds >= length) ?? steps.at(-1);
  const n = seconds / length;
  return unit(n < 10 && name !== 'minute' ? Math.floor(n * 10) / 10 : Math.floor(n), name);
}

// In Chinese too a figure stands apart from its unit, as the sentences have it.
const unit = (n, name) =>
  n.toLocaleString(language === 'en' ? 'en' : tag(), { style: 'unit', unit: name, unitDisplay: 'short' }).replace(/(\d)(?=\p{Script=Han})/u, '$1\u00a0');

export const since = (at, now = Date.now()) => t('ago', { age: age(Math.max(0, (now - new Date(at)) / 1000)) });

// toward is how long it is to a time, or since.
export function toward(at, now = Date.now()) {
  const seconds = (new Date(at) - now) / 1000;
  return seconds > 0 ? t('in', { age: age(seconds) }) : t('overdue');
}
