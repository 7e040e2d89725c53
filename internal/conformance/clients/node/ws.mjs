import WebSocket from 'ws';
import { follow } from './sockets.mjs';

follow(WebSocket);
