package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// site is an application's own: it serves a page that imports the module, and passes
// everything else on to an Outcrier server, unless something is wrong with it.
type site struct {
	t *testing.T
	// base stays the same when the site is closed and opened again.
	base   string
	server *httptest.Server
	proxy  http.Handler
	// wrong, when set, answers instead of Outcrier; refused counts its answers.
	wrong   atomic.Pointer[http.HandlerFunc]
	refused atomic.Int64
	// partless, when set, has the parts that the module loads answered by 503.
	partless atomic.Bool
	// minted are the tokens that /token has returned.
	minted atomic.Int64
	token  func() string

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// clientPage has what the tests need of the module under names of the page. It keeps
// what a stream gives in the order in which it comes.
const clientPage = `<!doctype html><title>a page</title><script type="module">
import { connect } from '/client.js';
const own = ['state', 'live', 'gap', 'goodbye', 'refused'];
globalThis.listen = (options) => {
	const stream = connect('/events', {heartbeat: 1000, ...options});
	stream.ids = []; stream.states = []; stream.told = [];
	stream.on('*', (event) => stream.ids.push(event.id));
	for (const name of own) stream.on('outcrier.' + name, (detail) => stream.told.push([name, detail]));
	stream.on('outcrier.state', ({state, via}) => stream.states.push(state + ' ' + via));
	globalThis.stream = stream;
};
globalThis.ready = true;
</script>`

func newSite(t *testing.T, server string) *site {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	s := &site{t: t, base: "http://127.0.0.1:0", proxy: proxy, conns: map[net.Conn]bool{}}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/page", "/elsewhere":
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/page" {
			fmt.Fprint(w, clientPage)
		}
	case "/worker.js":
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, cachingWorker)
	case "/follows.js", "/follows-whole.js":
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintf(w, "import { connect } from '%s';\n%s", map[string]string{"/follows.js": "/client.js", "/follows-whole.js": "/client.all.js"}[r.URL.Path], followingWorker)
	case "/token":
		s.minted.Add(1)
		fmt.Fprint(w, s.token())
	default:
		if s.partless.Load() && strings.HasPrefix(r.URL.Path, "/client/") {
			s.refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if wrong := s.wrong.Load(); wrong != nil && r.URL.Path == "/events" {
			s.refused.Add(1)
			(*wrong)(w, r)
			return
		}
		s.proxy.ServeHTTP(w, r)
	}
}

// open opens the port, which is the same each time.
func (s *site) open() {
	s.t.Helper()
	var listener net.Listener
	testkit.Eventually(s.t, "the port is free", func() bool {
		var err error
		listener, err = net.Listen("tcp", strings.TrimPrefix(s.base, "http://"))
		return err == nil
	})
	s.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: s, ConnState: func(conn net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateClosed || state == http.StateHijacked {
			delete(s.conns, conn)
		} else {
			s.conns[conn] = true
		}
	}}}
	s.server.Start()
	s.base = s.server.URL
}

// close closes the port: who connects is refused.
func (s *site) close() {
	s.server.Listener.Close()
	s.hangUp()
}

// hangUp ends all connections.
func (s *site) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// answer has /events answered so, for all who ask from now on.
func (s *site) answer(handler http.HandlerFunc) {
	s.wrong.Store(&handler)
	s.refused.Store(0)
	s.hangUp()
}

func (s *site) mend() { s.wrong.Store(nil) }

// status is an answer without a stream.
func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprintln(w, "<h1>We are deploying</h1>")
	}
}
