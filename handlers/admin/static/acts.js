// What an admin does to events, each in a dialog.
import { call, explained } from './api.js';
import { form } from './dom.js';
import { count, t } from './words.js';

// key makes an append that is tried again the same one.
const key = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const common = (page) => ({ no: t('cancel'), problem: explained, signal: page.signal });

export async function sendAgain(page, event) {
  const once = key();
  const sent = await form({
    ...common(page), title: t('again_title', { id: event.id }), text: t('again_text'), yes: t('again'),
    fields: [['topic', t('topic'), { value: event.topic, required: true, maxlength: 255 }, t('again_topic_hint')]],
    act: ({ topic }) => call('POST', `history/${event.id}/again`, { body: { topic: topic === event.topic ? '' : topic, key: once + topic } }),
  });
  if (!sent) return;
  page.notice(t('again_done', { id: sent.id }));
  page.go(`event/${sent.id}`);
}

export async function redact(page, event, shown) {
  const done = await form({
    ...common(page), title: t('redact_title', { id: event.id }), text: t('redact_text'), yes: t('redact'), bad: true,
    fields: [['payload', t('payload'), { rows: 8, value: shown }], ['reason', t('reason'), { required: true, maxlength: 1000 }, t('reason_hint')]],
    act: async ({ payload, reason }) => call('POST', 'erasures', { body: withPayload({ id: event.id, reason }, payload) }),
  });
  if (!done) return;
  page.notice(t('redact_done'));
  page.go(`event/${event.id}`);
}

// erase asks for a reason, and without an event for a pattern of topics as well.
export async function erase(page, event, done) {
  const pattern = !event && ['pattern', t('pattern'), { required: true, maxlength: 255, placeholder: 'user/42/**' }, t('pattern_hint')];
  const erased = await form({
    ...common(page), title: event ? t('erase_title', { id: event.id }) : t('erase_topics'), text: t(event ? 'erase_text' : 'erase_topics_text'), yes: t('erase_yes'), no: t(event ? 'keep' : 'keep_all'), bad: true,
    fields: [pattern, ['reason', t('reason'), { required: true, maxlength: 1000 }, t('reason_hint')]].filter(Boolean),
    act: (given) => call('POST', 'erasures', { body: event ? { id: event.id, ...given } : given }),
  });
  if (!erased) return;
  page.notice(t('erased_n', { n: count(erased.events) }));
  done();
}

// keepOut revokes all tokens of a subject, which ends their streams too.
export async function keepOut(page, subject) {
  const done = await form({
    ...common(page), title: t('keep_out_title', { subject }), text: t('keep_out_text'), yes: t('keep_out'), bad: true,
    fields: [['reason', t('reason'), { required: true, maxlength: 1000 }, t('reason_hint')]],
    act: ({ reason }) => call('POST', 'revocations', { body: { sub: subject, reason } }),
  });
  if (done) page.notice(t('keep_out_done', { subject }));
}

export async function publish(page) {
  const once = key();
  const sent = await form({
    ...common(page), title: t('publish_title'), text: t('publish_text'), yes: t('publish'),
    fields: [
      ['topic', t('topic'), { required: true, maxlength: 255, value: 'test' }],
      ['type', t('type'), { required: true, maxlength: 255, value: 'test.published' }],
      ['payload', t('payload'), { rows: 5, value: '{}' }],
    ],
    act: async ({ topic, type, payload }) => call('POST', 'events', { body: withPayload({ topic, type, key: once }, payload) }),
  });
  if (!sent) return;
  page.notice(t('published', { id: sent.id }));
  page.go(`event/${sent.id}`);
}

// withPayload is a body whose payload stays as it was typed: parsing it would change large
// numbers.
function withPayload(body, text) {
  try {
    JSON.parse(text);
  } catch (err) {
    throw Object.assign(new Error(t('payload_bad', { detail: err.message })), { status: 400 });
  }
  return `${JSON.stringify(body).slice(0, -1)},"payload":${text}}`;
}
