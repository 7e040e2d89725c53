import { WebSocket } from 'undici';
import { follow } from './sockets.mjs';

follow(WebSocket);
