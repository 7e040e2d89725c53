package wire

import (
	"bytes"
	"strings"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// appendEnd appends the SSE field id, and the blank line that dispatches the event (HTML
// Standard, 9.2.6). The id is the last field: some clients commit it when they read its
// line, and a client that is cut off before the blank line would lose an event whose
// data came after it.
func appendEnd(dst []byte, keys *position.Keys, p position.Position) []byte {
	dst = append(dst, "id: "...)
	dst = keys.Append(dst, p)
	return append(dst, "\n\n"...)
}

// appendHead appends the SSE fields event and data.
func appendHead(dst []byte, e *outbox.Event, format Format) []byte {
	if format&Unnamed == 0 {
		dst = append(dst, "event: "...)
		dst = append(dst, e.Type...)
		dst = append(dst, '\n')
	}
	dst = append(dst, "data: "...)
	data := len(dst)
	dst = oneLine(AppendEvent(dst, e, format), data)
	return append(dst, '\n')
}

// oneLine makes the JSON from a place on in dst a single line, for every reader: a line
// break in a payload could forge fields. JSON has CR and LF between its tokens only,
// where a space is the same; line separators beyond ASCII, which some clients take for
// the end of a line, it has in strings only, where they can be escaped.
func oneLine(dst []byte, from int) []byte {
	data := dst[from:]
	if bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0 {
		for i, c := range data {
			if c == '\n' || c == '\r' {
				data[i] = ' '
			}
		}
	}
	// By their first bytes, as most text has neither.
	if bytes.IndexByte(data, "\u2028"[0]) >= 0 || bytes.IndexByte(data, "\u0085"[0]) >= 0 {
		for _, separator := range separators {
			if bytes.Contains(data, separator) {
				return append(dst[:from], escapes.Replace(string(data))...)
			}
		}
	}
	return dst
}

var (
	separators = [][]byte{[]byte("\u2028"), []byte("\u2029"), []byte("\u0085")}
	escapes    = strings.NewReplacer("\u2028", `\u2028`, "\u2029", `\u2029`, "\u0085", `\u0085`)
)
