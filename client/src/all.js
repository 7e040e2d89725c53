// The whole module at once, for service workers, in which nothing can be loaded later, and
// for pages that want no other request.
import * as changes from './changes.js';
import * as memory from './memory.js';
import { parts } from './parts.js';
import * as tabs from './tabs.js';
import * as tokens from './tokens.js';
import * as transports from './transports.js';

parts.changes = async () => changes;
parts.memory = async () => memory;
parts.tabs = async () => tabs;
parts.tokens = async () => tokens;
parts.transports = async () => transports;

export * from './outcrier.js';
