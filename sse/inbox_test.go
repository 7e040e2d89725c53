package sse

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// taken is what an inbox makes of bytes: the messages, the ping to answer, and the end.
func (in *inbox) taken(err error) (messages []string, ping string, code ws.StatusCode, left bool) {
	for m := in.next(); m != nil; m = in.next() {
		messages = append(messages, string(m))
	}
	payload, _ := in.ping()
	var end *closing
	if errors.As(err, &end) {
		code, left = end.Code, end.left
	}
	return messages, string(payload), code, left
}

// FuzzInbox gives an inbox whatever a client may send, whole and in pieces: it says the same
// of both, and keeps no more than it may.
func FuzzInbox(f *testing.F) {
	part := func(kind ws.OpCode, final bool, payload string) []byte {
		return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(kind, final, []byte(payload))))
	}
	whole := frameOf(ws.OpText, `{"add":["b"]}`)
	f.Add(whole, 1)
	f.Add(slices.Concat(part(ws.OpText, false, `{"add":`), frameOf(ws.OpPing, "x"), part(ws.OpContinuation, true, `["b"]}`), whole), 3)
	f.Add(frameOf(ws.OpText, strings.Repeat("x", 70_000)), 1000)
	f.Add(frameOf(ws.OpText, strings.Repeat("x", 65_536)), 1000)
	f.Add(bytes.Repeat(part(ws.OpContinuation, false, "x"), 3), 2)
	f.Add(frameOf(ws.OpBinary, "x"), 5)
	f.Add(frameOf(ws.OpClose, "\x03\xe8bye"), 2)
	f.Add(frameOf(ws.OpClose, "\x03"), 2)
	f.Add(ws.MustCompileFrame(ws.NewTextFrame([]byte("not masked"))), 2)
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 1)
	f.Add([]byte{0xc1, 0x80, 0, 0, 0, 0}, 1)
	f.Add(frameOf(ws.OpText, "\xff"), 1)
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		size = max(1, size)
		one, many := newInbox(), newInbox()
		errOne := one.receive(sent)
		var errMany error
		for rest := sent; len(rest) > 0 && errMany == nil; {
			n := min(size, len(rest))
			piece := slices.Clone(rest[:n])
			errMany = many.receive(piece)
			clear(piece) // the buffer is used again
			rest = rest[n:]
			if len(many.rest) > maxMessage+ws.MaxHeaderSize+size || len(many.message) > maxMessage || many.size > waitingBytes {
				t.Fatalf("it keeps %d, %d and %d bytes", len(many.rest), len(many.message), many.size)
			}
		}
		wantMessages, wantPing, wantCode, wantLeft := one.taken(errOne)
		messages, ping, code, left := many.taken(errMany)
		if !slices.Equal(messages, wantMessages) || ping != wantPing || code != wantCode || left != wantLeft {
			t.Errorf("in pieces of %d: %q, ping %q, %d, %v; whole: %q, ping %q, %d, %v", size, messages, ping, code, left, wantMessages, wantPing, wantCode, wantLeft)
		}
		if one.receive(sent) != nil && errOne != nil {
			t.Error("it ends twice")
		}
		for _, m := range messages {
			if c, err := parseChange([]byte(m)); err == nil && (!json.Valid([]byte(m)) || len(c.Add)+len(c.Drop) == 0 && c.Token == nil && !strings.Contains(m, "[]")) {
				t.Errorf("%q is taken for %+v", m, c)
			}
		}
	})
}

// What a client may send is bounded whatever it waits for.
func TestInbox_IsBounded(t *testing.T) {
	message := frameOf(ws.OpText, `{"add":["`+strings.Repeat("x", 60_000)+`"]}`)
	in := newInbox()
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = in.receive(message)
	}
	var end *closing
	if !errors.As(err, &end) || end.Code != ws.StatusPolicyViolation || n > waitingBytes/60_000+1 {
		t.Errorf("after %d messages: %v", n, err)
	}
	in = newInbox()
	for n = 0; in.receive(frameOf(ws.OpText, `{}`)) == nil && n < 10_000; n++ {
		in.next()
	}
	if n < changesAtOnce || n > 2*changesAtOnce {
		t.Errorf("%d messages are taken at once", n)
	}
}
