package proxies

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestProxies_BringAnEventSourceBackFromACrash: when a node crashes before its answer or in it, an
// EventSource is given a stream, or its connection breaks off: it comes back from both. What is no
// stream is given an error.
func TestProxies_BringAnEventSourceBackFromACrash(t *testing.T) {
	t.Parallel()
	const (
		header = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
		event  = "15\r\ndata: a part of an ev"
	)
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			nodes := [2]*played{newPlayed(t), newPlayed(t)}
			base := p.start(t, [2]string{nodes[0].address, nodes[1].address})
			for _, written := range []string{"", header, header + event} {
				for _, n := range nodes {
					n.written.Store(&written)
				}
				for _, h2 := range []bool{false, true} {
					if h2 && (p.plain || p.refuses && written == "") {
						continue
					}
					transport := &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: trusting()}
					for round := range 2 {
						testkit.Eventually(t, "the proxy uses a node", func() bool {
							a, err := ask(t, transport, http.MethodGet, base+"/readyz", "*/*")
							return err == nil && a.status == http.StatusOK
						})
						a, err := ask(t, transport, http.MethodGet, base+path, "text/event-stream")
						if err == nil && (a.status != http.StatusOK || a.media != "text/event-stream") {
							t.Errorf("HTTP/2 %t, the node had written %q: an EventSource is given %v, and ends for good", h2, written, a)
						}
						if written != "" || round > 0 {
							continue
						}
						for _, other := range []struct{ method, path, accept string }{
							{http.MethodGet, "/events/1", "*/*"},
							{http.MethodPost, "/events", "text/event-stream"}, // an append that looks done would be lost
							{http.MethodDelete, "/events/1", "text/event-stream"},
						} {
							a, err = ask(t, transport, other.method, base+other.path, other.accept)
							if err == nil && (a.status < 400 || a.media == "text/event-stream") {
								t.Errorf("HTTP/2 %t: %v is no stream and is given %v, want an error", h2, other, a)
							}
						}
					}
					transport.CloseIdleConnections()
				}
			}
		})
	}
}

// TestProxies_AskAnotherNodeAtOnce: a request for a stream that a node has not answered, since it
// crashed or can't be reached, is answered by the other one, before any probe has told.
func TestProxies_AskAnotherNodeAtOnce(t *testing.T) {
	t.Parallel()
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			failing, other := newPlayed(t), newPlayed(t) // the first writes nothing
			whole := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: from the other\n\n"
			other.written.Store(&whole)
			base := p.start(t, [2]string{failing.address, other.address})
			p.findsNode(t, base)
			transport := &http.Transport{TLSClientConfig: trusting()}
			defer transport.CloseIdleConnections()
			for _, failure := range []string{"crashes", "can't be reached"} {
				if failure != "crashes" {
					failing.listener.Close()
				}
				// Some for each node, by any way to choose one.
				for i := 0; i < 6 || failing.asked.Load() == 0; i++ {
					if i == 100 {
						t.Fatal("the failing node was never asked")
					}
					a, err := ask(t, transport, http.MethodGet, base+path, "text/event-stream")
					if err != nil || !strings.Contains(a.body, "from the other") {
						t.Errorf("a node %s, and a stream is given %v, %v, want the other node's", failure, a, err)
					}
				}
			}
		})
	}
}

type answer struct {
	status int
	media  string
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d, %s: %q", a.status, a.media, a.body) }

// ask fails when no header arrives. The body may break off.
func ask(t *testing.T, transport http.RoundTripper, method, url, accept string) (answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := transport.RoundTrip(request)
	if err != nil {
		if ctx.Err() != nil {
			t.Errorf("%s has no answer: %v", url, err)
		}
		return answer{}, err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return answer{response.StatusCode, media, string(body)}, nil
}

// played stands for a node. Of each answer but those to readiness probes it writes what is in written,
// and ends the connection, as the kernel does for a program that crashes.
type played struct {
	address  string
	listener net.Listener
	written  atomic.Pointer[string]
	asked    atomic.Int64 // requests but those of probes
}

func newPlayed(t *testing.T) *played {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	n := &played{address: listener.Addr().String(), listener: listener}
	n.written.Store(new(string))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go n.serve(conn)
		}
	}()
	return n
}

func (n *played) serve(conn net.Conn) {
	defer conn.Close()
	for requests := bufio.NewReader(conn); ; {
		request, err := http.ReadRequest(requests)
		if err != nil {
			return
		}
		if strings.HasPrefix(request.URL.Path, "/events") {
			n.asked.Add(1)
			_, _ = io.WriteString(conn, *n.written.Load())
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil || request.Close {
			return
		}
	}
}
