import { clock } from './clock.js';
import { Desk } from './desk.js';
import { Stream } from './stream.js';
import { Timeline } from './timeline.js';
import { Words } from './words.js';

const types = [
  'audit.submitted', 'audit.approved', 'audit.rejected', 'trade.executed', 'info.updated', 'user.logged_in',
  'user.logged_out', 'user.login_failed', 'account.locked', 'account.unlocked', 'system.maintenance',
];

// Hooks for tests are data-testid attributes: of the page in templates/person.html,
// of what comes and goes in desk.js, and of the timeline's entries in timeline.js.
const find = (id) => document.getElementById(id);

const words = new Words();
const desk = new Desk(words, act);
const timeline = new Timeline(find('timeline'), find('summary'), find('missed'));

let awaySince = 0;
let gaps = 0; // in a row, without getting live
let tries = 0; // to read the state, in a row

const stream = new Stream(types, {
  status(text) {
    const pill = find('status');
    pill.textContent = pill.dataset.status = text;
    if (text === 'live') awaySince = 0;
    else if (text !== 'replaying') awaySince ||= Date.now();
  },
  hello(hello, again) {
    find('node').textContent = hello.node ? `from node ${hello.node}` : '';
    if (again && hello.resumed === true) timeline.startMissed(Date.now() - awaySince);
  },
  event(event, replayed) {
    desk.apply(event);
    timeline.add(event, words.tell(event), Math.max(0, clock.now() - Date.parse(event.time)), replayed);
  },
  live() {
    gaps = 0;
    timeline.endMissed();
  },
  goodbye({ reason }) {
    timeline.mark('note', `The server said goodbye (${reason}).`);
  },
  lost({ reason, since }) {
    const held = since ? `, only what happened since ${new Date(since).toLocaleString('en-GB')} is still held` : '';
    timeline.mark('gap', `A gap: the stream can’t be resumed whole (${reason ?? 'unknown position'}${held}). The page was read anew.`);
    setTimeout(start, gaps++ ? 2000 : 0);
  },
});

find('cut').addEventListener('click', () => cut(true));
find('reconnect').addEventListener('click', () => cut(false));
start();

// start shows the state as it is now, and follows from exactly there.
async function start() {
  try {
    const asked = Date.now();
    const state = await ask('state');
    clock.set(state.now, asked, Date.now());
    tries = 0;
    notify('');
    words.learn(state);
    desk.show(state);
    stream.open(state.topics, state.position);
  } catch (err) {
    notify(err.message);
    setTimeout(start, Math.min(500 * 2 ** tries++, 15_000));
  }
}

function cut(off) {
  find('cut').hidden = off;
  find('reconnect').hidden = !off;
  if (off) stream.cut();
  else stream.reconnect();
  find(off ? 'reconnect' : 'cut').focus();
}

// act sends what the person does, and says if it was done. The screen changes
// when the event arrives.
async function act(button, method, path, body) {
  button.disabled = true;
  try {
    const headers = body && { 'Content-Type': 'application/json' };
    await ask(path, { method, headers, body: body && JSON.stringify(body) });
    notify('');
    return true;
  } catch (err) {
    notify(err.message);
    return false;
  } finally {
    button.disabled = false;
  }
}

// ask is the API's JSON, or an error in the words of its problem.
async function ask(path, options) {
  const response = await fetch(`/api/demo/people/${document.body.dataset.person}/${path}`, options).catch(() => {
    throw new Error('The server can’t be reached.');
  });
  const isJSON = /\bjson\b/.test(response.headers.get('Content-Type') ?? '');
  const content = isJSON ? await response.json() : {};
  if (!response.ok) throw new Error(content.detail ?? `The server answered ${response.status}.`);
  return content;
}

let forget = 0;

// notify shows a text for a while; an empty one takes it away.
function notify(text) {
  clearTimeout(forget);
  if (text) forget = setTimeout(() => notify(''), 8000);
  find('notice').textContent = text;
  find('notice').hidden = !text;
}
