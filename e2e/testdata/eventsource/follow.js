// brief returns data as it is, or of a long text the length and the FNV-1a sum in UTF-8.
const brief = (data) => {
  if (data.length < 10_000) return data;
  const bytes = new TextEncoder().encode(data);
  const sum = bytes.reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
  return `${bytes.length} bytes, sum ${sum}`;
};

// follow opens an EventSource for each URL, the browser's own or npm's, and
// calls keep with each event that one of them brings, its data in brief.
globalThis.follow = (EventSource, urls, types, keep) => {
  urls.forEach((url, stream) => {
    const source = new EventSource(url);
    for (const type of types) {
      source.addEventListener(type, (e) => {
        // What the source says of itself, open and error, has no data.
        if (typeof e.data === 'string') keep({ stream, id: e.lastEventId, type: e.type, data: brief(e.data) });
      });
    }
  });
};
