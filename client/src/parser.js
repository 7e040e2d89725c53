/**
 * Reads Server-Sent Events (HTML Standard, 9.2.6) out of text that comes in pieces, cut
 * anywhere. A BOM at the start is left to TextDecoder.
 *
 * @type {typeof import('../outcrier.d.ts').parser}
 */
export function parser(dispatch, retry) {
  let rest = '';
  let returned = false; // the last piece ended with CR
  let type = '';
  let data = '';
  let id = '';
  return (text) => {
    if (!text) return;
    if (returned && text[0] === '\n') text = text.slice(1);
    returned = text.endsWith('\r');
    const lines = (rest + text).split(/\r\n?|\n/);
    rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      if (line) {
        const [, name, value] = /** @type {string[]} */ (line.match(/^([^:]*):? ?(.*)/s));
        if (name === 'event') type = value;
        if (name === 'data') data += `${value}\n`;
        if (name === 'id' && !value.includes('\0')) id = value;
        if (name === 'retry' && /^\d+$/.test(value)) retry(+value);
      } else {
        if (data) dispatch({ type: type || 'message', data: data.slice(0, -1), id });
        type = data = '';
      }
    }
  };
}
