import { meaning } from './catalogue.js';
import { t } from './words.js';

// actOn does about an event what the catalogue says: it has the desk read anew, or
// offers to sign in again, to try again, to ask for help, or to show more. hands
// are the pane's. What is replayed is not told one by one; what the person must do
// about it the desk shows anyway.
export function actOn(entry, hands) {
  const { event, replayed } = entry;
  const { action, severity, code } = meaning(event.type);
  if (action === 'refresh') hands.refresh();
  const key = keyOf(event);
  const mine = !event.data?.person || event.data.person === hands.me();
  if (mine) settled(event, hands);
  if (replayed || action === 'refresh') return;
  const button = mine || action === 'show_details' ? buttons[action]?.(entry, hands, key) : undefined;
  // What needs no answer is on the desk and in the timeline: a note would only cover it.
  if (!button && severity === 'info') return;
  const tell = () => ({ severity, title: meaning(event.type).title, code, text: hands.tell(event), button });
  hands.show(key, tell, button?.needed);
}

// What is news of the same thing replaces what was told of it before.
function keyOf({ id, type, data }) {
  if (/^(user|account)\./.test(type)) return `account-${data?.person}`;
  if (type === 'client.error') return `failed-${data?.item}`;
  if (type === 'system.maintenance') return `maintenance-${data?.id}`;
  return `event-${id}`;
}

const buttons = {
  // What is addressed to others, or to a role, is in the timeline.
  show_details: (entry, hands) => entry.event.topic === `user/${hands.me()}` && ({ action: 'show_details', press: () => hands.details(entry) }),

  sign_in_again: (entry, hands, key) => ({
    action: 'sign_in_again',
    needed: true,
    press: () => {
      hands.settle(key);
      hands.signIn();
    },
  }),

  contact_support: ({ event }, hands, key) => ({
    action: 'contact_support',
    needed: true,
    press: async (button) => {
      if (await hands.act(button, 'POST', 'help', { about: meaning(event.type).code ?? '' })) {
        hands.show(key, () => ({ title: t('asked') }));
      }
    },
  }),

  // What can be tried again is known here: an event never says where to send to.
  retry: ({ event }, hands, key) => {
    const item = Number(event.data?.item);
    if (event.data?.what !== 'trade' || !Number.isSafeInteger(item)) return undefined;
    return {
      action: 'retry',
      needed: true,
      press: async (button) => {
        if (await hands.act(button, 'POST', `items/${item}/trade`)) hands.settle(key);
      },
    };
  },
};

// settled takes away what an event has answered.
function settled({ type, data }, hands) {
  if (type === 'trade.executed') hands.settle(`failed-${data?.item}`);
}
