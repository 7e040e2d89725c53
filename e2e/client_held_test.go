package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

// beginningOnly is a proxy that passes on the first bytes of a stream at once, and
// holds back the rest. Polls get through, and sockets where they may.
func beginningOnly(t *testing.T, s *stage, sockets bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" && !sockets {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if !strings.Contains(r.Header.Get("Accept"), "event-stream") {
			s.site.proxy.ServeHTTP(w, r)
			return
		}
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, s.server.base+r.URL.String(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header = r.Header.Clone()
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
		end := time.Now().Add(300 * time.Millisecond)
		for buf := make([]byte, 4<<10); time.Now().Before(end); {
			n, err := response.Body.Read(buf)
			if err != nil {
				return
			}
			if time.Now().Before(end) {
				_, _ = w.Write(buf[:n])
				_ = http.NewResponseController(w).Flush()
			}
		}
		go io.Copy(io.Discard, response.Body) //nolint:errcheck // it ends with the request
		<-r.Context().Done()
	}
}

// beginningGetsThrough has a proxy that holds back all but the first bytes of streams.
func beginningGetsThrough(t *testing.T, s *stage) {
	defer s.site.mend()
	for sockets, via := range map[bool]string{false: "poll", true: "websocket"} {
		s.site.answer(beginningOnly(t, s, sockets))
		before := len(s.held(t, "%"))
		in := s.page(t, "")
		isLive(t, in)
		s.add(t, "a")
		until(t, in, "the page has found out", fmt.Sprintf("stream.via === '%s'", via))
		s.add(t, "b", "c")
		s.check(t, in, "a", "%", before)
		s.leave(t, in)
	}
}

// connectionsRunOut opens more streams than a browser has connections for a site by
// HTTP/1.1: the last one waits for its turn, and no proxy is blamed.
func connectionsRunOut(t *testing.T, s *stage) {
	in := s.tabs.open(t, s.site.base+"/page")
	until(t, in, "the page is there", "!!globalThis.ready")
	in.eval(t, fmt.Sprintf(`void (globalThis.all = Array.from({length: 7}, () => {
		listen({topics: ['%s/**'], patience: 1000});
		return stream;
	}))`, s.topic))
	until(t, in, "six are live", "all.filter(({state}) => state === 'live').length >= 6")
	// Firefox lets the poll through, and then a WebSocket, which does not count.
	until(t, in, "the seventh has lost its patience", "all.some(({told, via}) => via === 'websocket' || told.some(([, {reason}]) => reason === 'silent'))")
	in.eval(t, "void (globalThis.stream = all.find(({state, via}) => state !== 'live' || via === 'websocket'), all.find(({state, via}) => state === 'live' && via === 'stream').close())")
	isLive(t, in)
	if ways := value[[]string](t, in, "stream.states"); strings.Contains(strings.Join(ways, " "), "poll") {
		t.Errorf("a proxy is blamed: %q", ways)
	}
	s.check(t, in, "a", "%", 0)
	in.eval(t, "void all.forEach((one) => one.close())")
	s.leave(t, in)
}

// workerCaches has a service worker that keeps every answer that it may keep, and gives it
// again for ever.
func workerCaches(t *testing.T, s *stage) {
	in := s.tabs.open(t, s.site.base+"/page")
	in.eval(t, "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(() => null)")
	for _, options := range []string{"from: 'earliest'", "from: 'earliest', transport: 'poll'"} {
		in.navigate(t, s.site.base+"/page")
		until(t, in, "the worker has the page", "!!navigator.serviceWorker.controller")
		s.listen(t, in, options)
		isLive(t, in)
		s.add(t, "a")
		s.server.kill()
		s.add(t, "b")
		s.server.restart(t)
		s.check(t, in, "a", "%", 0)
		s.listen(t, in, options) // asks for the same again
		s.check(t, in, "a", "%", 0)
	}
	in.eval(t, "navigator.serviceWorker.getRegistrations().then((all) => Promise.all(all.map((one) => one.unregister()))).then(() => null)")
	in.close(t)
}

const cachingWorker = `
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(clients.claim()));
self.addEventListener('fetch', (event) => event.respondWith((async () => {
	const cache = await caches.open('all');
	const kept = await cache.match(event.request);
	if (kept) return kept;
	const response = await fetch(event.request);
	if (response.ok) cache.put(event.request, response.clone()).catch(() => {});
	return response;
})()));`

// topicRefused has a token that does not grant all that a page asks for.
func topicRefused(t *testing.T, s *stage) {
	const words = "correct horse battery staple, 32 bytes and more"
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := auth.ParseSecret([]byte(words))
	if err != nil {
		t.Fatal(err)
	}
	guarded := startAs(t, "serve", "--dev", "--database-url", s.database, "--jwt-secret-file", secret, "--retry", "200ms", "--heartbeat", "1s", "--log-level", "error")
	here := *s
	here.site = newSite(t, guarded.base)
	here.site.token = func() string {
		token, err := auth.Mint(key, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{outbox.Pattern(s.topic + "/**")}}, time.Hour)
		if err != nil {
			t.Errorf("mint a token: %v", err)
		}
		return token
	}
	in := here.page(t, "token: async () => (await fetch('/token')).text()")
	isLive(t, in)
	here.add(t, "a")
	in.eval(t, "void stream.add(['secret', 'user//42'])")
	until(t, in, "both are refused", "['secret', 'user//42'].every((topic) => stream.told.some(([name, told]) => name === 'refused' && told.topic === topic))")
	here.check(t, in, "a", "%", 0)
	if states := value[[]string](t, in, "stream.states"); strings.Contains(strings.Join(states, " "), "closed") {
		t.Errorf("the stream was closed: %q", states)
	}
	here.leave(t, in)
}
