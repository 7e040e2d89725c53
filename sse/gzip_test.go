package sse

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
	"github.com/outcrier/outcrier/sse/wire"
)

// piped is a response whose reader decompresses it as it arrives.
type piped struct {
	response
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
		go s.Serve(ctx, &piped{to: to}, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, Format: wire.Gzip}, func(why error) { ended <- why })
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
