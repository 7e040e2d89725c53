package proxies

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/outcrier/outcrier/internal/testkit"
)

// passAWebSocketOn: the module comes by one where it is asked to, or where something else
// holds streams back.
func passAWebSocketOn(t *testing.T, n *node, base string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Deadline)
	defer cancel()
	// As a browser's: it says where the page is from, and the token goes with the protocols.
	dialer := ws.Dialer{
		Protocols: []string{"outcrier", "bearer.abc"}, TLSConfig: trusting(),
		Header: ws.HandshakeHeaderHTTP{"Origin": {base}},
	}
	conn, early, handshake, err := dialer.Dial(ctx, strings.Replace(base, "http", "ws", 1)+"/events?topic="+t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if handshake.Protocol != "outcrier" {
		t.Errorf("the protocol is %q", handshake.Protocol)
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	var both io.ReadWriter = conn
	if early != nil { // what came with the answer
		both = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	until := func(kind string) {
		t.Helper()
		for {
			text, err := wsutil.ReadServerText(both)
			if err != nil {
				t.Fatalf("before %s: %v", kind, err)
			}
			var message struct{ Event struct{ Type string } }
			if err := json.Unmarshal(text, &message); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if message.Event.Type == kind {
				return
			}
		}
	}
	until("outcrier.live")
	for _, kind := range []string{"test.1", "test.2"} { // each before the next is appended
		n.addOn(t, t.Name(), kind)
		until(kind)
	}
	if err := wsutil.WriteClientText(conn, []byte(`{"add":["other"]}`)); err != nil {
		t.Fatal(err)
	}
	until("outcrier.topics")
	n.addOn(t, t.Name(), "test.3")
	until("test.3")
}

// letNobodyPastByAWebSocket: an answer that is no WebSocket doesn't open a way to the
// node on which a client says itself where it comes from.
func letNobodyPastByAWebSocket(t *testing.T, n *node, base string) {
	t.Helper()
	var conn net.Conn
	var err error
	if host, encrypted := strings.CutPrefix(base, "https://"); encrypted {
		conn, err = tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	} else {
		conn, err = net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(testkit.Deadline)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	host := strings.TrimPrefix(strings.TrimPrefix(base, "https://"), "http://")
	if _, err := fmt.Fprintf(conn, "GET /readyz HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n\r\n", host); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	// The proxy may have closed the connection by now.
	_, _ = fmt.Fprintf(conn, "GET /events?topic=%s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: 203.0.113.9\r\nAccept: text/event-stream\r\n\r\n", t.Name(), host)
	if response, err = http.ReadResponse(in, nil); err != nil { //nolint:bodyclose // that would read the stream to its end
		return
	}
	if by := n.header(t.Name(), "X-Forwarded-For"); response.StatusCode == http.StatusOK && by != "127.0.0.1" {
		t.Errorf("the client is %q: it may not say so of itself", by)
	}
}
