import { known } from './words.js';

// The catalogue says what the types of events mean, and what a page should do
// about them. Where there is none, all events are merely shown.
let types = new Map();

export async function readCatalogue() {
  try {
    const response = await fetch('/catalogue');
    if (!response.ok) return;
    const answer = await response.json();
    types = new Map(answer.types.map((type) => [type.type, type]));
  } catch {
    // The server is away: the stream will say so.
  }
}

// meaning is what the catalogue says of a type: {code, title, description,
// severity, action}.
export function meaning(type) {
  const { code = null, title = type, description = '', severity = 'info', action = 'none' } = types.get(type) ?? {};
  return { code, title: known(`type.${type}`) ?? title, description, severity, action };
}
