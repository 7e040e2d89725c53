import { createEventSource } from 'eventsource-client';
import { print, url } from './print.mjs';

for await (const { data, event, id } of createEventSource({ url })) {
  print(id, event ?? 'message', data);
}
