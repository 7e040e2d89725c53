package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// Whatever a stream sends, in whatever order, a reader who decompresses it has what
// one has who gets it as it is; and at its end the checksum is right.
func TestGzip_SaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoders, buffers, sent := map[Format]Encoder{}, map[Format][]byte{}, map[Format][]byte{}
		each := func(do func(e Encoder, dst []byte) []byte) {
			for format, e := range encoders {
				buffers[format] = do(e, buffers[format])
			}
		}
		flush := func() {
			each(Encoder.Seal)
			for format, buf := range buffers {
				if len(buf) > 0 {
					sent[format], buffers[format] = append(sent[format], Framed(buf, false, false)...), nil
				}
			}
		}
		for _, format := range []Format{0, Gzip} {
			encoders[format], _ = NewEncoder(Encoding{Format: format, Keys: testKeys})
		}
		each(Encoder.Open)
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			payload := strings.Repeat("a", rapid.SampledFrom([]int{0, 1, 7, 200, 70_000}).Draw(t, "length")) + rapid.String().Draw(t, "payload")
			quoted, _ := json.Marshal(payload)
			id := rapid.Int64Range(1, 1<<40).Draw(t, "id")
			var others []uint64
			for xid := range rapid.SampledFrom([]uint64{0, 3, 300}).Draw(t, "in progress") {
				others = append(others, xid+1)
			}
			e := outbox.Event{ID: id, XID: uint64(id), Topic: "a", Type: "test.added", Source: "/", Payload: quoted, CreatedAt: epoch}
			to := after(e)
			to.Given.Except = others // the id of the frame may be long
			frame := &Frame{Event: &e, Read: &Read{To: to, Keys: testKeys}, Last: true}
			switch rapid.SampledFrom([]string{"add", "add at", "say", "flush"}).Draw(t, "step") {
			case "add":
				each(func(e Encoder, dst []byte) []byte { return e.Frame(dst, frame) })
			case "add at":
				at := position.Position{History: 7, EventID: id, Given: to.Given}
				each(func(e Encoder, dst []byte) []byte { return e.FrameAt(dst, frame, at) })
			case "say":
				said := Notice{Name: "said", At: after(e), Data: payload}
				each(func(e Encoder, dst []byte) []byte { return e.Notice(dst, said) })
			case "flush":
				flush()
			}
		}
		for format, e := range encoders {
			buffers[format], _ = e.End(buffers[format], Ending{Goodbye: &Goodbye{Reason: "drain"}})
		}
		flush()
		if text := decompressed(t, sent[Gzip]); !bytes.Equal(text, sent[0]) {
			t.Fatalf("decompressed it is\n%q, as it is\n%q", text, sent[0])
		}
	})
}

func decompressed(t rapid.TB, sent []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%v after %q", err, text)
	}
	return text
}

// A thousand streams don't compress a thousand times.
func TestFrame_IsCompressedOnce(t *testing.T) {
	e := outbox.Event{ID: 7, XID: 7, Topic: "a", Type: "t", Payload: []byte("{}"), CreatedAt: epoch}
	f := &Frame{Event: &e, Read: &Read{To: after(e), Keys: testKeys}, Last: true}
	var first *encoded
	for range 3 {
		one, _ := NewEncoder(Encoding{Format: Gzip, Keys: testKeys})
		one.FrameAt(one.Frame(one.Open(nil), f), f, after(e))
		again := f.encoded[Gzip].Load()
		if first == nil {
			first = again
		}
		if again == nil || again != first {
			t.Fatal("the frame is compressed again")
		}
	}
}
