// follow opens an EventSource for each URL, the browser's own or npm's, and
// calls keep with each event that one of them brings.
globalThis.follow = (EventSource, urls, types, keep) => {
  urls.forEach((url, stream) => {
    const source = new EventSource(url);
    for (const type of types) {
      source.addEventListener(type, (e) => {
        // What the source says of itself, open and error, has no data.
        if (typeof e.data === 'string') keep({ stream, id: e.lastEventId, type: e.type, data: e.data });
      });
    }
  });
};
