package sse

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// Whatever a stream sends, in whatever order, a reader who decompresses it has what
// one has who gets it as it is; and at its end the checksum is right.
func TestGzip_SaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoders, buffers, sent := map[Format]encoder{}, map[Format][]byte{}, map[Format][]byte{}
		each := func(do func(e encoder, dst []byte) []byte) {
			for format, e := range encoders {
				buffers[format] = do(e, buffers[format])
			}
		}
		flush := func() {
			each(encoder.seal)
			for format, buf := range buffers {
				if len(buf) > 0 {
					sent[format], buffers[format] = append(sent[format], framed(buf, false, false)...), nil
				}
			}
		}
		for _, format := range []Format{0, Gzip} {
			encoders[format] = newEncoder(&Request{Format: format}, testKeys, nil)
		}
		each(encoder.open)
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
			frame := &Frame{Event: &e, read: &reading{To: to, keys: testKeys}, ends: true}
			switch rapid.SampledFrom([]string{"add", "add at", "say", "flush"}).Draw(t, "step") {
			case "add":
				each(func(e encoder, dst []byte) []byte { return e.frame(dst, frame) })
			case "add at":
				at := outbox.Position{History: 7, EventID: id, Given: to.Given}
				each(func(e encoder, dst []byte) []byte { return e.frameAt(dst, frame, at) })
			case "say":
				said := notice{name: "said", at: after(e), data: payload}
				each(func(e encoder, dst []byte) []byte { return e.notice(dst, said) })
			case "flush":
				flush()
			}
		}
		for format, e := range encoders {
			buffers[format], _ = e.end(buffers[format], ending{why: &Goodbye{Reason: "drain"}})
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

// piped is a wire whose reader decompresses what comes as it comes.
type piped struct {
	wire
	to *io.PipeWriter
}

func (p *piped) Write(b []byte) (int, error) { return p.to.Write(b) }

// Not only decoders that give out all they can have the whole of a write at once.
func TestGzip_NothingIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(0)
		from, to := io.Pipe()
		var mu sync.Mutex
		var text []byte
		go func() {
			r, err := gzip.NewReader(from)
			for buf := make([]byte, 4096); err == nil; {
				var n int
				n, err = r.Read(buf)
				mu.Lock()
				text = append(text, buf[:n]...)
				mu.Unlock()
			}
		}()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go s.Serve(ctx, &piped{to: to}, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, Format: Gzip}, func(why error) { ended <- why })
		for _, step := range []struct {
			do   func()
			want []string
		}{
			{func() {}, []string{"outcrier.hello", "outcrier.live"}},
			{func() { s.commit("a", 1) }, []string{"test.added"}},
			{func() { s.commit("a", 2) }, []string{"test.added", "test.added"}},
			{func() { s.commit("b", 1); time.Sleep(s.Heartbeat) }, []string{"outcrier.position"}},
		} {
			step.do()
			synctest.Wait()
			mu.Lock()
			events, _ := ssetest.Parse(text)
			text = nil
			mu.Unlock()
			if got := types(events); !slices.Equal(got, step.want) {
				t.Errorf("at once come %v, want %v", got, step.want)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = to.Close()
	})
}

// A thousand streams don't compress a thousand times.
func TestGzip_FrameIsCompressedOnce(t *testing.T) {
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		s.format = Gzip
		for range 3 {
			s.open(t, Request{})
		}
		e := s.store("a", 1)
		s.tail(e...)
		synctest.Wait()
		s.Hub.Ring.mu.RLock()
		frame := s.Hub.Ring.reads[0].frames[0]
		s.Hub.Ring.mu.RUnlock()
		first := frame.encoded[Gzip].Load()
		c := s.open(t, Request{From: From{Earliest: true}})
		if got := ids(c.next()); !slices.Equal(got, numbers(1, 1)) {
			t.Errorf("given are %v", got)
		}
		if first == nil || frame.encoded[Gzip].Load() != first {
			t.Error("the frame is compressed again")
		}
	})
}
