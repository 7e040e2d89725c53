package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
)

// byHeader takes each request for that of whom it names.
func byHeader(r *http.Request) (auth.Identity, error) {
	return auth.Identity{Subject: r.Header.Get("Who"), Subscribe: []outbox.Pattern{"**"}, Publish: []outbox.Pattern{"**"}, Explicit: true}, nil
}

// eventID is where an envelope has its id.
var eventID = regexp.MustCompile(`"id":"([0-9]+)"`)

// aborted is a client that reads a while and is gone.
type aborted struct {
	who      string
	poll, h2 bool
	how      string
	received []byte
	// path and header are of another form than streams and polls, over HTTP/1.1.
	path, header string
}

// run reads about so many bytes from the node, and breaks off.
func (a *aborted) run(ctx context.Context, n *node, most int) error {
	path := "/events?topic=a&from=earliest"
	accept := "text/event-stream"
	if a.poll {
		path, accept = path+"&wait=0&limit=1000", "application/json"
	}
	header := "Accept: " + accept + "\r\nConnection: close\r\n"
	if a.path != "" {
		path, header = a.path, a.header
	}
	if a.h2 {
		return a.overHTTP2(ctx, n.url+path, accept, most)
	}
	address, err := url.Parse(n.url)
	if err != nil {
		return err
	}
	dialed, err := new(net.Dialer).DialContext(ctx, "tcp", address.Host)
	if err != nil {
		return err
	}
	conn := dialed.(*net.TCPConn)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if err := conn.SetReadBuffer(16 << 10); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nWho: %s\r\n%s\r\n", path, address.Host, a.who, header); err != nil {
		return err
	}
	if err := a.receive(conn, most); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // when there is no more
		return err
	}
	switch a.how {
	case "reset":
		return conn.SetLinger(0) // Close then sends RST
	case "half":
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		_ = a.receive(conn, most/2) // it may be over
	}
	return nil
}

// receive reads so many bytes more, or all that there is.
func (a *aborted) receive(from io.Reader, most int) error {
	had := len(a.received)
	a.received = slices.Grow(a.received, most)[:had+most] // at once: to grow bit by bit is dear under the race detector
	n, err := io.ReadFull(from, a.received[had:])
	a.received = a.received[:had+n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// overHTTP2 breaks off by RST_STREAM, or with the connection.
func (a *aborted) overHTTP2(ctx context.Context, address, accept string, most int) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	if a.how == "reset" {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				err = conn.(*net.TCPConn).SetLinger(0)
			}
			return conn, err
		}
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("Who", a.who)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	err = a.receive(response.Body, most)
	if errors.Is(err, context.DeadlineExceeded) { // when there is no more
		return nil
	}
	return err
}

// TestAudit_MissesNothingThatASocketReceived: clients that break off at any byte, by a
// reset, a close or HTTP/2's RST_STREAM, streams and polls. Each event whose id arrived
// is on record as sent, or as perhaps sent.
func TestAudit_MissesNothingThatASocketReceived(t *testing.T) {
	t.Parallel()
	missesNothing(t, longer(60, 200), func(i int) *aborted {
		return &aborted{poll: i%2 == 0, h2: i%4 > 1, how: []string{"reset", "close", "half"}[i%3]}
	})
}

// The same of WebSockets, of events in batches, and of single events.
func TestAudit_MissesNothingOfOtherForms(t *testing.T) {
	t.Parallel()
	const stream = "/events?topic=a&from=earliest"
	missesNothing(t, longer(45, 90), func(i int) *aborted {
		a := &aborted{how: []string{"reset", "close", "half"}[i%3]}
		switch i % 9 / 3 {
		case 0:
			a.path, a.header = stream, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
		case 1:
			a.path, a.header = stream+"&batch=50ms", "Connection: close\r\n"
		case 2:
			a.path, a.header = fmt.Sprint("/events/", 1+i), "Connection: close\r\n"
		}
		return a
	})
}

// longer chooses the number for the form of the tests.
func longer(short, long int) int {
	if testkit.Long() {
		return long
	}
	return short
}

// missesNothing has clients break off, and compares what they received with the record.
func missesNothing(t *testing.T, runs int, client func(i int) *aborted) {
	t.Helper()
	n := newNode(t, func(n *node) {
		n.access = handlers.Access{Authenticate: byHeader}
		n.audit = &audit.Recorder{Pool: n.pool, Node: "n1"}
		n.start = func(server *httptest.Server) {
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetHTTP1(true)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
				_ = conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
				return ctx
			}
			server.Start()
		}
	})
	stopped := n.runAudit(t)
	appendEvents := func(events int) {
		const query = `SELECT count(outcrier.append('a', 'test.added', json_build_object('n', n, 'text', repeat('x', 3000)))) FROM generate_series(1, $1) AS n`
		if _, err := n.pool.Exec(t.Context(), query, events); err != nil {
			t.Error(err)
		}
	}
	events := longer(100, 300)
	appendEvents(events)
	n.seen(t, int64(events))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	clients := make([]*aborted, runs)
	most := make([]int, runs)
	for i := range clients {
		clients[i] = client(i)
		clients[i].who = strconv.Itoa(i)
		most[i] = random.IntN(events * 3300)
	}
	over := make(chan struct{})
	var writing, reading sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(20 * time.Millisecond):
				appendEvents(1)
			}
		}
	})
	next := make(chan int)
	// Most of them wait most of the time: the small buffers of their sockets take little at once.
	for range 40 {
		reading.Go(func() {
			for i := range next {
				if err := clients[i].run(t.Context(), n, most[i]); err != nil {
					t.Errorf("%+v: %v", clients[i].who, err)
				}
			}
		})
	}
	for i := range clients {
		next <- i
	}
	close(next)
	reading.Wait()
	close(over)
	writing.Wait()
	eventually(t, func() bool { return n.streamer.Open() == 0 })
	// What is left to the end has two seconds only.
	eventually(t, func() bool { return n.audit.Stats().Waiting == 0 })
	stopped()

	recorded := make(map[string]map[int64]bool)
	rows, err := n.pool.Query(t.Context(), `SELECT subject, id, perhaps FROM outcrier.receipts`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var who string
		var id int64
		var perhaps bool
		if err := rows.Scan(&who, &id, &perhaps); err != nil {
			t.Fatal(err)
		}
		if recorded[who] == nil {
			recorded[who] = make(map[int64]bool)
		}
		recorded[who][id] = perhaps
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	received, perhaps, missing := 0, 0, 0
	for _, a := range clients {
		for _, match := range eventID.FindAllSubmatch(a.received, -1) {
			id, err := strconv.ParseInt(string(match[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			received++
			maybe, is := recorded[a.who][id]
			if maybe {
				perhaps++
			}
			if !is {
				if missing++; missing < 10 {
					t.Errorf("event %d arrived at client %s (poll %t, HTTP/2 %t, %s %s), and is not on record", id, a.who, a.poll, a.h2, a.path, a.how)
				}
			}
		}
	}
	t.Logf("%d events arrived in %d runs, %d of them on record as perhaps given, %d missing", received, runs, perhaps, missing)
	if received < runs*events/10 || perhaps == 0 {
		t.Errorf("it proves nothing: %d events arrived, %d perhaps", received, perhaps)
	}
}
