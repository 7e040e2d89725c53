import { setTimeout as wait } from 'node:timers/promises';
import { print, url } from './print.mjs';

// refetch is the loop that a parser leaves to its user: fetch, print each event of the
// response, and fetch again from the last id on. parse gives {id, type, data, retry}.
export async function refetch(parse) {
  let last, pause = 1000;
  for (;;) {
    try {
      const headers = { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) };
      const response = await fetch(url, { headers });
      if (!response.ok) throw new Error(response.statusText);
      if (response.status === 204) return;
      for await (const { id, type, data, retry } of parse(response)) {
        if (retry) pause = retry;
        if (data !== undefined) print(id, type, data);
        if (id) last = id;
      }
    } catch (error) {
      console.error(error.message);
    }
    await wait(pause);
  }
}
