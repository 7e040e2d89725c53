package proxies

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestProxies_PassAWebSocketOn: the module comes by one where it is asked to, or where
// something else holds streams back.
func TestProxies_PassAWebSocketOn(t *testing.T) {
	n := newNode(t, 0)
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			base := p.start(t, [2]string{n.address, n.also})
			testkit.Eventually(t, "the proxy has found the node", func() bool { return status(base+"/readyz") == http.StatusOK })
			ctx, cancel := context.WithTimeout(t.Context(), testkit.Deadline)
			defer cancel()
			// As a browser's: it says where the page is from, and the token goes with the protocols.
			dialer := ws.Dialer{
				Protocols: []string{"outcrier", "bearer.abc"}, TLSConfig: &tls.Config{InsecureSkipVerify: true},
				Header: ws.HandshakeHeaderHTTP{"Origin": {base}},
			}
			conn, early, handshake, err := dialer.Dial(ctx, strings.Replace(base, "http", "ws", 1)+path)
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
				n.add(t, kind)
				until(kind)
			}
			if err := wsutil.WriteClientText(conn, []byte(`{"add":["other"]}`)); err != nil {
				t.Fatal(err)
			}
			until("outcrier.topics")
			n.add(t, "test.3")
			until("test.3")
		})
	}
}
