package sse

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/ssetest"
	"github.com/outcrier/outcrier/sse/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a hub.Past in memory.
type table struct {
	mu     sync.Mutex
	events []outbox.Event
	// gap validates positions; nil finds no gap.
	gap func(position.Position) *position.Gap
	// apart, when set, reports the hub's positions that the table does not know.
	apart func(w position.Position) bool
	// err, when set, is returned by every call.
	err error
	// replay, when set, is called for each replay and may refuse it.
	replay  func(replay.Range) error
	replays int
}

// apartOr returns err, or the error for a hub with another history.
func (p *table) apartOr(w position.Position) error {
	if p.err == nil && p.apart != nil && p.apart(w) {
		return replay.ErrApart
	}
	return p.err
}

func (p *table) Verify(_ context.Context, at position.Position, _ outbox.Filter, w position.Position) (position.Position, *position.Gap, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.apartOr(w); err != nil || p.gap == nil {
		return at, nil, err
	}
	gap := p.gap(at)
	if gap != nil && gap.Reason != position.Trimmed {
		at = position.Position{}
	}
	return at, gap, nil
}

func (p *table) Earliest(_ context.Context, w position.Position) (position.Position, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return position.Position{History: 1}, p.apartOr(w)
}

func (p *table) Before(ctx context.Context, _ time.Time, w position.Position) (position.Position, error) {
	return p.Earliest(ctx, w)
}

func (p *table) Oldest(context.Context) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return epoch, p.err
}

func (p *table) Replay(_ context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replays++
	if p.err != nil {
		return replay.Page{}, p.err
	}
	if p.replay != nil {
		if err := p.replay(stretch); err != nil {
			return replay.Page{}, err
		}
	}
	page, size := replay.Page{After: stretch.After, Done: true}, 0
	// Events are looked at where they are: to copy all of them, for each page, takes the most time of all.
	for i := 1; i < len(p.events); i++ {
		if p.events[i].ID < p.events[i-1].ID {
			slices.SortFunc(p.events, func(a, b outbox.Event) int { return cmp.Compare(a.ID, b.ID) })
			break
		}
	}
	first := sort.Search(len(p.events), func(i int) bool { return p.events[i].ID > stretch.After })
	for i := range p.events[first:] {
		e := &p.events[first+i]
		if e.Topic == "" || !stretch.To.Given.Has(e.XID) || stretch.From.Given.Has(e.XID) ||
			!filter.Match(e.Topic, e.Type) || e.CreatedAt.Before(filter.Since) {
			continue
		}
		if len(page.Events) == limit || bytes > 0 && size >= bytes && e.ID != page.After {
			page.Done = false
			break
		}
		page.Events, page.After = append(page.Events, *e), e.ID
		size += len(e.Payload)
	}
	return page, nil
}

func (p *table) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// epoch is when everything happened.
var epoch = time.Date(2026, 11, 22, 2, 0, 0, 123456000, time.UTC)

// server is a Streamer on a table, and the tail that feeds it.
type server struct {
	*Streamer
	past *table
	at   position.Position
	// parks has streams parked, that are live and whose readers keep up, and all of
	// them chunked.
	parks bool
	// format is that of all streams, in addition to what each asks for.
	format wire.Format
	// sockets has streams be those of WebSockets, where that can be.
	sockets bool
	// change is what their clients' messages do.
	change func(context.Context, Change, []outbox.Pattern) ([]outbox.Pattern, []wire.Refused)
}

func newServer(ringBytes int) *server {
	past := &table{}
	s := &server{Streamer: NewStreamer(newHub(&hub.Buffer{Past: past, Bytes: ringBytes}), slog.New(slog.DiscardHandler)), past: past, at: position.Position{History: 1}}
	s.Node = "n1"
	s.Hub.Start(s.at)
	return s
}

// inBubble runs a test of streams in each way that a stream can be served.
func inBubble(t *testing.T, test func(*testing.T, *server)) {
	t.Run("from memory", func(t *testing.T) { inBubbleWith(t, 0, test) })
	t.Run("from small memory", func(t *testing.T) { inBubbleWith(t, 3000, test) })
	fromTable(t, test)
	t.Run("compressed", func(t *testing.T) {
		inBubbleWith(t, 3000, func(t *testing.T, s *server) {
			s.format = wire.Gzip
			test(t, s)
		})
	})
	t.Run("by WebSocket", func(t *testing.T) {
		inBubbleWith(t, 3000, func(t *testing.T, s *server) {
			s.sockets = s.parks
			test(t, s)
		})
	})
}

// fromTable runs a test of streams that are replayed from the table alone.
func fromTable(t *testing.T, test func(*testing.T, *server)) {
	t.Run("from the table", func(t *testing.T) { inBubbleWith(t, -1, test) })
}

func inBubbleWith(t *testing.T, ringBytes int, test func(*testing.T, *server)) {
	t.Run("by goroutines", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newServer(ringBytes)) })
	})
	t.Run("by the pool", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(ringBytes)
			s.parks = true
			ctx, stop := context.WithCancelCause(context.Background())
			done := make(chan error)
			go func() { done <- s.run(ctx, nil) }()
			synctest.Wait()
			test(t, s)
			stop(errStopped)
			if err := <-done; !errors.Is(err, errStopped) {
				t.Errorf("the pool ended with %v", err)
			}
		})
	})
}

var errStopped = errors.New("stopped")

// after is the position of a reader that has the event and everything before it.
func after(e outbox.Event) position.Position {
	return position.Position{
		History: 1, EventID: e.ID, Given: position.Set{Max: e.XID}, Anchor: position.Anchor{XID: e.XID, Hash: uint32(e.XID)},
	}
}

// store commits n events in one transaction without the tail seeing them.
func (s *server) store(topic string, n int) (events []outbox.Event) {
	s.past.set(func() {
		id := int64(len(s.past.events))
		for i := range n {
			events = append(events, outbox.Event{
				ID: id + int64(i) + 1, XID: uint64(id) + 1, Topic: topic, Type: "test.added", Source: "/",
				Payload: json.RawMessage(`{"a": 1}`), CreatedAt: epoch,
			})
		}
		s.past.events = append(s.past.events, events...)
	})
	return events
}

// tail delivers events as one read.
func (s *server) tail(events ...outbox.Event) {
	to := s.at
	if len(events) > 0 {
		to = after(events[len(events)-1])
	}
	s.Hub.Deliver(tail.Read{From: s.at, To: to, Events: events, First: true, Last: true})
	s.at = to
}

// commit is store, and then tail.
func (s *server) commit(topic string, n int) []outbox.Event {
	events := s.store(topic, n)
	s.tail(events...)
	return events
}

// response is the Writer of one stream.
type response struct {
	mu       sync.Mutex
	sent     []byte
	ends     []int         // how much was sent after each Write
	blocked  chan struct{} // until it is closed, nothing can be written
	deadline time.Time
	moved    chan struct{} // closed when the deadline moves
	pace     time.Duration // what a write takes
	err      error
	most     int // what Write takes while it is blocked
	chunked  bool
	listener
	in      *inbox
	room    int    // what TryWrite takes while it is blocked
	writing []byte // by a Write that is under way
	closed  bool
}

// openingBytes are enough for the first write of a stream, and too few for hello.
const openingBytes = 20

// parkable is a response that is a connection, with a chunked response.
type parkable struct{ *response }

func (w parkable) chunks() bool    { return w.in == nil }
func (w parkable) inbox() *inbox   { return w.in }
func (w parkable) listen(listener) {}
func (w parkable) linger()         {}
func (w parkable) abort()          {}

func (w parkable) TryWrite(p []byte) (int, error) {
	w.mu.Lock()
	if w.blocked == nil {
		w.mu.Unlock()
		return w.Write(p)
	}
	defer w.mu.Unlock()
	n := min(w.room, len(p))
	w.sent = append(w.sent, p[:n]...)
	w.room -= n
	return n, nil
}

func (w parkable) watch(_ *watch, l listener) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener = l
	return true, nil
}

func (w parkable) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	blocked, pace := w.blocked, w.pace
	w.most -= len(p)
	free := w.most >= 0
	w.writing = p
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.writing = nil
	}()
	time.Sleep(pace)
	for blocked != nil && !free {
		w.mu.Lock()
		deadline, moved := w.deadline, w.moved
		w.mu.Unlock()
		select {
		case <-blocked:
			free = true
		case <-moved:
		case <-time.After(time.Until(deadline)):
			return 0, os.ErrDeadlineExceeded
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.sent = append(w.sent, p...)
	w.ends = append(w.ends, len(w.sent))
	return len(p), nil
}

// text is the sent text that a reader sees after it has taken it out of its chunks and
// decompressed it.
func (w *response) text() []byte { return w.textOf(w.sent) }

func (w *response) textOf(sent []byte) []byte {
	text, _ := w.textUpTo(sent, nil)
	return text
}

// textUpTo returns the text of sent, and how long it was when sent ended at each of ends, which
// rise. Sent is decoded once: a test with thousands of writes has no time to do it for each.
func (w *response) textUpTo(sent []byte, ends []int) (text []byte, lengths []int) {
	if w.in != nil {
		return asSSE(sent, ends)
	}
	if w.chunked {
		sent, _, ends = unchunk(sent, ends)
	}
	if !bytes.HasPrefix(sent, []byte("\x1f\x8b")) {
		return sent, ends
	}
	return decompress(sent, ends)
}

// unchunk reads a chunked body as far as it goes (RFC 9112, 7.1), and reports whether it
// is complete; lengths are those of the text when the body ended at each of ends. It panics
// where the server would never write so.
func unchunk(body []byte, ends []int) (text []byte, complete bool, lengths []int) {
	defer func() {
		for range len(ends) - len(lengths) {
			lengths = append(lengths, len(text))
		}
	}()
	all := len(body)
	for len(body) > 0 {
		header, rest, whole := bytes.Cut(body, []byte("\r\n"))
		if !whole {
			return text, false, lengths
		}
		size, err := strconv.ParseUint(string(header), 16, 31)
		if err != nil || len(header) > 1 && header[0] == '0' {
			panic(fmt.Sprintf("a chunk's header is %q", header))
		}
		if size == 0 {
			if string(rest) != "\r\n" {
				panic(fmt.Sprintf("after the last chunk comes %q", rest))
			}
			return text, true, lengths
		}
		n := min(int(size), len(rest))
		begins := all - len(rest)
		for len(lengths) < len(ends) && ends[len(lengths)] <= begins+n {
			lengths = append(lengths, len(text)+max(0, ends[len(lengths)]-begins))
		}
		text = append(text, rest[:n]...)
		if body = rest[n:]; len(body) < 2 {
			return text, false, lengths
		}
		if string(body[:2]) != "\r\n" {
			panic(fmt.Sprintf("a chunk ends with %q", body[:2]))
		}
		body = body[2:]
	}
	return text, false, lengths
}

// decompress returns the text of a gzip stream that may go on, and how long it was when the
// stream ended at each of ends.
func decompress(sent []byte, ends []int) (text []byte, lengths []int) {
	from := &piecewise{sent: sent, ends: ends}
	from.passed = func() { lengths = append(lengths, len(text)) }
	r, err := gzip.NewReader(from)
	for buf := make([]byte, 32<<10); err == nil; {
		var n int
		n, err = r.Read(buf)
		text = append(text, buf[:n]...)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) { // the latter while it goes on
		panic(err)
	}
	for range len(ends) - len(lengths) {
		lengths = append(lengths, len(text))
	}
	for i, end := range ends {
		if !bytes.HasSuffix(sent[:end], []byte("\x00\x00\xff\xff")) { // in the middle of a block: it shows the part that it has
			begun, _ := decompress(sent[:end], nil)
			lengths[i] = len(begun)
		}
	}
	return text, lengths
}

// piecewise is a reader of sent that stops at each of ends. It calls passed when it is asked for
// more: the reader has made all that it can of the bytes before.
type piecewise struct {
	sent   []byte
	at     int
	ends   []int
	passed func()
}

func (r *piecewise) Read(p []byte) (int, error) {
	for len(r.ends) > 0 && r.ends[0] <= r.at {
		r.passed()
		r.ends = r.ends[1:]
	}
	to := len(r.sent)
	if len(r.ends) > 0 {
		to = r.ends[0]
	}
	n := copy(p, r.sent[r.at:to])
	if r.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (w *response) Flush() error { return nil }

func (w *response) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deadline = t; w.moved != nil {
		close(w.moved)
	}
	w.moved = make(chan struct{})
	return nil
}

// client is one stream that is served.
type client struct {
	t        *testing.T
	response *response
	cancel   context.CancelCauseFunc
	expire   context.CancelCauseFunc
	ended    chan error
	read     int // events that were looked at
}

// open serves a stream in the test's bubble.
func (s *server) open(t *testing.T, request Request) *client {
	return s.openOn(t, &response{}, request)
}

func (s *server) openOn(t *testing.T, on *response, request Request) *client {
	if request.Filter.Topics == nil {
		request.Filter.Topics = []outbox.Pattern{"a"}
	}
	request.Format |= s.format
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &client{t: t, response: on, cancel: cancel, expire: cancel, ended: make(chan error, 1)}
	var w Writer = c.response
	if s.parks {
		on.chunked = true
		if s.sockets && request.Batch == 0 && request.Format&wire.Unnamed == 0 {
			on.chunked, on.in, request.Change = false, newInbox(), s.change
		}
		w = parkable{c.response}
		c.cancel = func(error) { c.leave() }
	}
	go s.Serve(ctx, w, request, func(why error) { c.ended <- why })
	t.Cleanup(func() { cancel(context.Canceled) })
	synctest.Wait()
	return c
}

func (c *client) parse() ([]ssetest.Event, *ssetest.Parser) {
	c.t.Helper()
	synctest.Wait()
	c.response.mu.Lock()
	defer c.response.mu.Unlock()
	text, ends := c.response.textUpTo(c.response.sent, c.response.ends)
	begin := 0
	for _, end := range ends {
		w := text[begin:end]
		begin = end
		comments := w
		if end := bytes.LastIndex(w, []byte("\n\n")); end >= 0 {
			comments = w[end+len("\n\n"):]
		}
		for line := range bytes.Lines(comments) {
			if line[0] != ':' || line[len(line)-1] != '\n' {
				c.t.Errorf("a write ends within an event: %q", w)
			}
		}
	}
	events, p := ssetest.Parse(text)
	if len(p.Strange) > 0 {
		c.t.Errorf("strange lines: %q", p.Strange)
	}
	return events, p
}

// next are the events since it was called last.
func (c *client) next() []ssetest.Event {
	c.t.Helper()
	events, _ := c.parse()
	fresh := events[c.read:]
	c.read = len(events)
	return fresh
}

// all are the events so far.
func (c *client) all() []ssetest.Event {
	c.t.Helper()
	events, _ := c.parse()
	return events
}

// ids of the events that are not the server's own. What is no whole envelope stands for itself.
func ids(events []ssetest.Event) []string {
	var list []string
	for _, e := range events {
		if e.Type != "test.added" {
			continue
		}
		rest, begins := strings.CutPrefix(e.Data, `{"specversion":"1.0","id":"`)
		id, rest, ends := strings.Cut(rest, `"`)
		if !begins || !ends || !strings.HasSuffix(rest, "}") {
			id = e.Data
		}
		list = append(list, id)
	}
	return list
}

func types(events []ssetest.Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.Type)
	}
	return list
}

// end leaves the stream and returns why it ended.
func (c *client) end() error {
	c.cancel(context.Canceled)
	return <-c.ended
}

// leave closes the connection from the reader's side.
func (c *client) leave() {
	c.response.mu.Lock()
	left := c.response.left
	c.response.mu.Unlock()
	left()
}

// testKeys are those of every hub of these tests, as nodes on one database share theirs.
var testKeys = position.NewKeys()

func newHub(buffer *hub.Buffer) *hub.Hub {
	h := hub.New(buffer)
	h.Keys = testKeys
	return h
}

// sealed is the position as readers get it.
func sealed(p position.Position) string { return testKeys.Seal(p) }
