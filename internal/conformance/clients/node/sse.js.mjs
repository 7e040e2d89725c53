import './xhr.mjs';
import { SSE } from 'sse.js';
import { print, url } from './print.mjs';

const source = new SSE(url, { autoReconnect: true, reconnectDelay: 300 });
source.onmessage = (message) => print(message.lastEventId, message.type, message.data);
