package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
)

func TestClient_Chromium(t *testing.T) {
	t.Parallel() // both wait, most of the time
	situations(t, newChromium(t), true)
}

func TestClient_Firefox(t *testing.T) {
	t.Parallel()
	situations(t, newFirefox(t), testkit.Long(), "--gzip")
}

// situation is one that the module has to get out of.
type situation struct {
	name string
	run  func(t *testing.T, s *stage)
}

// shared are the situations of one server, which ends in some of them, and of what lies before it.
var shared = []situation{
	{"server restarted", serverRestarted},
	{"connection refused", connectionRefused},
	{"proxy answers for the server", proxyAnswers},
	{"connection falls silent", fallsSilent},
	{"offline", goesOffline},
	{"page reloaded", reloaded},
	{"page put away", putAway},
	{"topics change", topicsChange},
	{"gap", tellsGap},
	{"tabs share", tabsShare},
	{"a tab that may not", tabMayNot},
	{"leading tab hangs", leaderHangs},
	{"beginning gets through", beginningGetsThrough},
	{"server restarted, by WebSocket", byWebSocket(serverRestarted)},
	{"connection falls silent, by WebSocket", byWebSocket(fallsSilent)},
	{"offline, by WebSocket", byWebSocket(goesOffline)},
	{"page reloaded, by WebSocket", byWebSocket(reloaded)},
	{"topics change, by WebSocket", byWebSocket(topicsChange)},
	{"gap, by WebSocket", byWebSocket(tellsGap)},
	{"tabs share, by WebSocket", byWebSocket(tabsShare)},
	{"connections run out", connectionsRunOut},
	{"worker caches", workerCaches},
	{"dedicated worker", follows("dedicated")},
	{"shared worker", follows("shared")},
	{"parts are away", partsAway},
	{"proxy buffers", proxyBuffers},
}

// guarded are the situations that have a server of their own, which wants tokens.
var guarded = []situation{
	{"token expires", tokenExpires},
	{"topic refused", topicRefused},
	{"token expires, by WebSocket", byWebSocket(tokenExpires)},
	{"topic refused, by WebSocket", byWebSocket(topicRefused)},
}

// situations brings pages of a browser into each situation, and compares the events that they
// received with the table. Unless all are asked for, those by WebSocket are left out that are not
// about what a browser does by its own rules.
func situations(t *testing.T, browser browser, all bool, args ...string) {
	database := outboxtest.URL(t)
	s := startAs(t, "serve", append([]string{"--dev", "--database-url", database, "--retry", "200ms", "--heartbeat", "1s", "--audit", "--log-level", "warn"}, args...)...)
	net := newNetwork(t, s.base)
	// At the same time, but not parallel: such subtests would begin after all other tests.
	var groups sync.WaitGroup
	defer groups.Wait()
	run := func(group string, site *site, situations []situation) {
		t.Run(group, func(t *testing.T) {
			tabs := &tabs{browser: browser}
			for _, situation := range situations {
				if ours := []string{"offline", "page reloaded", "gap", "tabs share", "token expires", "topic refused"}; !all {
					if name, socket := strings.CutSuffix(situation.name, ", by WebSocket"); socket && slices.Contains(ours, name) {
						continue
					}
				}
				t.Run(situation.name, func(t *testing.T) {
					began := time.Now()
					situation.run(t, &stage{tabs, site, net, s, database, connect(t, database), strings.NewReplacer(" ", "-", ",", "").Replace(situation.name), "stream"})
					t.Logf("took %v", time.Since(began).Round(time.Millisecond))
				})
			}
		})
	}
	one, own := newSite(t, net.base), newSite(t, s.base)
	groups.Go(func() { run("one server", one, shared) })
	groups.Go(func() { run("a server of its own", own, guarded) })
}

// stage is what a situation happens on.
type stage struct {
	tabs     *tabs
	site     *site
	net      *network
	server   *server
	database string
	db       *pgx.Conn
	// topic is the first segment of the situation's topics.
	topic string
	// transport is the module's, unless a situation says otherwise.
	transport string
}

// page opens a tab whose page listens, to all of the situation's topics unless the
// options, in JavaScript, say otherwise.
func (s *stage) page(t *testing.T, options string) tab {
	t.Helper()
	in := s.tabs.open(t, s.site.base+"/page")
	s.listen(t, in, options)
	return in
}

// leave has tabs go to a page that does nothing, and keeps them for the next that are opened.
func (s *stage) leave(t *testing.T, tabs ...tab) {
	t.Helper()
	for _, in := range tabs {
		in.navigate(t, s.site.base+"/elsewhere")
		s.tabs.left = append(s.tabs.left, in)
	}
}

func (s *stage) listen(t *testing.T, in tab, options string) {
	t.Helper()
	if !strings.Contains(options, "topics:") {
		options = fmt.Sprintf("topics: ['%s/**'], ", s.topic) + options
	}
	if !strings.Contains(options, "transport:") {
		options = fmt.Sprintf("transport: '%s', ", s.transport) + options
	}
	until(t, in, "the page is there", "!!globalThis.ready")
	in.eval(t, "void listen({"+options+"})")
}

// until waits until an expression of a page is true.
func until(t *testing.T, in tab, what, expression string) {
	t.Helper()
	for began := time.Now(); !value[bool](t, in, expression); testkit.Pause(began) {
		if time.Since(began) > testkit.Deadline {
			t.Fatalf("not within %v: %s; states %s; told %s", testkit.Deadline, what, in.eval(t, "globalThis.stream?.states"), in.eval(t, "globalThis.stream?.told"))
		}
	}
}

// byWebSocket is a situation in which events come so.
func byWebSocket(situation func(*testing.T, *stage)) func(*testing.T, *stage) {
	return func(t *testing.T, s *stage) {
		s.transport = "websocket"
		in := s.page(t, "")
		isLive(t, in)
		if via := value[string](t, in, "stream.via"); via != s.transport {
			t.Errorf("events come by %s", via)
		}
		s.leave(t, in)
		s.topic += "-2"
		situation(t, s)
	}
}

func isLive(t *testing.T, in tab) {
	t.Helper()
	until(t, in, "the page is live", "stream.state === 'live'")
}

// add appends events on topics beneath the situation's, and returns the ids.
func (s *stage) add(t *testing.T, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		insert(t, s.db, s.topic+"/"+topic, "test.added", "{}")
	}
}

// held are the ids of the situation's events on topics like a pattern.
func (s *stage) held(t *testing.T, like string) (ids []string) {
	t.Helper()
	for _, r := range rows(t, s.database, s.topic+"/"+like) {
		ids = append(ids, strconv.FormatInt(r.ID, 10))
	}
	return ids
}

// check appends a last event on a topic, waits for it, and compares the events that the
// page received with those in the table on topics like a pattern, without the first
// few.
func (s *stage) check(t *testing.T, in tab, last, like string, without int) {
	t.Helper()
	s.add(t, last)
	s.same(t, in, s.held(t, like)[without:])
}

// same waits until the page has the last of the events that it should have, and compares all.
func (s *stage) same(t *testing.T, in tab, want []string) {
	t.Helper()
	until(t, in, "the page has the last event", fmt.Sprintf("stream.ids.includes(%q)", want[len(want)-1]))
	if got := value[[]string](t, in, "stream.ids"); !slices.Equal(got, want) {
		t.Errorf("the page was given\n%v, held are\n%v; states %s", got, want, in.eval(t, "stream.states"))
	}
}

func serverRestarted(t *testing.T, s *stage) {
	in := s.page(t, "")
	isLive(t, in)
	s.add(t, "a", "b")
	s.server.kill()
	s.add(t, "a", "b", "c")
	until(t, in, "the page knows", "stream.state === 'waiting'")
	s.server.restart(t)
	s.check(t, in, "a", "%", 0)
	s.leave(t, in)
}

func connectionRefused(t *testing.T, s *stage) {
	in := s.page(t, "")
	isLive(t, in)
	s.add(t, "a")
	s.site.close()
	s.add(t, "b", "c")
	until(t, in, "the page was refused twice", "stream.told.filter(([name, told]) => told.reason === 'unreachable').length > 1")
	s.site.open()
	s.check(t, in, "a", "%", 0)
	s.leave(t, in)
}

// proxyAnswers goes through all that a native EventSource would not come back from.
func proxyAnswers(t *testing.T, s *stage) {
	in := s.page(t, "")
	isLive(t, in)
	for _, answer := range []struct {
		handler http.HandlerFunc
		status  int
		least   int // ms until the next attempt
	}{
		{status(502), 502, 0}, {status(503, "Retry-After", "1"), 503, 1000}, {status(429, "Retry-After", "1"), 429, 1000},
		{status(200, "Content-Type", "text/html"), 200, 0}, {status(404), 404, 0},
	} {
		s.add(t, "a")
		s.site.answer(answer.handler)
		s.add(t, "b", "c")
		until(t, in, "the page is told so", fmt.Sprintf("stream.told.some(([, told]) => told.status === %d && told.retryIn >= %d)", answer.status, answer.least))
		s.site.mend()
		isLive(t, in)
	}
	s.check(t, in, "a", "%", 0)
	// A final state is final.
	s.site.answer(status(204))
	until(t, in, "the page has stopped", "stream.state === 'closed' && stream.told.at(-1)[1].reason === 'stopped'")
	s.site.mend()
	s.listen(t, in, "topics: ['a/**/b']")
	until(t, in, "the page is told what is wrong", `stream.state === 'closed' && stream.told.at(-1)[1].status === 400 && stream.told.at(-1)[1].detail.includes('a/**/b')`)
	s.leave(t, in)
}

// fallsSilent has everything vanish that is sent, which neither end notices.
func fallsSilent(t *testing.T, s *stage) {
	in := s.page(t, "")
	isLive(t, in)
	s.add(t, "a")
	until(t, in, "the page has an event", "stream.ids.length === 1")
	s.net.cut()
	s.add(t, "b", "c")
	until(t, in, "the page knows", "stream.told.some(([, told]) => told.reason === 'silent')")
	s.net.mend()
	s.check(t, in, "a", "%", 0)
	s.leave(t, in)
}

func goesOffline(t *testing.T, s *stage) {
	in := s.page(t, "")
	isLive(t, in)
	s.add(t, "a")
	until(t, in, "the page has an event", "stream.ids.length === 1")
	in.offline(t, true)
	s.add(t, "b", "c")
	until(t, in, "the page knows", "stream.state === 'offline'")
	in.offline(t, false)
	s.check(t, in, "a", "%", 0)
	s.leave(t, in)
}

func reloaded(t *testing.T, s *stage) {
	in := s.page(t, "remember: 'reloaded'")
	isLive(t, in)
	s.add(t, "a", "b")
	until(t, in, "the page has two events", "stream.ids.length === 2")
	s.same(t, in, s.held(t, "%"))
	for range 2 {
		before := len(s.held(t, "%"))
		in.navigate(t, s.site.base+"/elsewhere")
		s.add(t, "a", "b", "c")
		in.navigate(t, s.site.base+"/page")
		s.listen(t, in, "remember: 'reloaded'")
		s.check(t, in, "d", "%", before)
	}
	s.leave(t, in)
}

// putAway goes to another page and back: the page may come out of the browser's
// cache as it was, with the stream that it had.
func putAway(t *testing.T, s *stage) {
	if _, is := s.tabs.browser.(chromium); is {
		here := *s
		here.tabs = &tabs{browser: newWholeChromium(t)}
		s = &here
	}
	in := s.page(t, "share: true")
	isLive(t, in)
	s.add(t, "a")
	until(t, in, "the page has an event", "stream.ids.length === 1")
	in.navigate(t, s.site.base+"/elsewhere")
	s.add(t, "b", "c")
	in.back(t)
	if !value[bool](t, in, "!!globalThis.stream") {
		// Firefox keeps no pages in its back/forward cache while it is driven: the test
		// dispatches the page's events itself.
		s.listen(t, in, "share: true, from: 'earliest'")
		isLive(t, in)
		in.eval(t, "void dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
		s.add(t, "b", "c")
		testkit.Eventually(t, "the page has no stream", func() bool { return s.streams(t, "**") == 0 })
		in.eval(t, "void dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
	}
	s.check(t, in, "a", "%", 0)
	s.leave(t, in)
}

// topicsChange adds and drops topics while events are committed on all of them.
func topicsChange(t *testing.T, s *stage) {
	topic := func(name string) string { return fmt.Sprintf("'%s/%s'", s.topic, name) }
	in := s.page(t, "topics: ["+topic("kept")+", "+topic("dropped")+"]")
	isLive(t, in)
	stop, stopped := make(chan struct{}), make(chan struct{})
	other := connect(t, s.database)
	go func() {
		defer close(stopped)
		for {
			for _, name := range []string{"kept", "dropped", "added", "past"} {
				const insertSQL = `INSERT INTO outbox (topic, type) VALUES ($1, 'test.added')`
				if _, err := other.Exec(t.Context(), insertSQL, s.topic+"/"+name); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	in.eval(t, "void (stream.topics = {}, stream.on('*', (event) => (stream.topics[event.topic] ??= []).push(event.id)))")
	given := func(name string) []string {
		return value[[]string](t, in, "stream.topics["+topic(name)+"] ?? []")
	}
	until(t, in, "events flow", "stream.ids.length > 5")
	in.eval(t, "void stream.add("+topic("added")+")")
	until(t, in, "of the added one too", "stream.topics["+topic("added")+"]?.length > 5")
	in.eval(t, "void (stream.drop("+topic("dropped")+"), stream.add(["+topic("past")+"], {from: 'earliest'}))")
	dropped := given("dropped")
	until(t, in, "of the past one too", "stream.topics["+topic("past")+"]?.length > 20")
	close(stop)
	<-stopped
	s.add(t, "kept", "added", "past")
	until(t, in, "all is there", fmt.Sprintf("[%s, %s, %s].every((topic) => stream.topics[topic].at(-1) > 0) && ['%s'].every((id) => stream.ids.includes(id))",
		topic("kept"), topic("added"), topic("past"), strings.Join(s.last(t, "kept", "added", "past"), "','")))
	for name, whole := range map[string]bool{"kept": true, "past": true, "added": false} {
		got, want := given(name), s.held(t, name)
		if name == "kept" { // it was there before the page counted by topics
			got = nil
			for _, id := range value[[]string](t, in, "stream.ids") {
				if slices.Contains(want, id) {
					got = append(got, id)
				}
			}
		}
		if !whole {
			want = want[max(0, len(want)-len(got)):]
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %s the page was given\n%v, held are\n%v", name, got, want)
		}
	}
	if after := given("dropped"); len(after) != len(dropped) {
		t.Errorf("%d events of a dropped topic were given", len(after)-len(dropped))
	}
	s.leave(t, in)
}

func (s *stage) last(t *testing.T, topics ...string) (ids []string) {
	t.Helper()
	for _, topic := range topics {
		held := s.held(t, topic)
		ids = append(ids, held[len(held)-1])
	}
	return ids
}

// tellsGap begins with positions that can't be resumed.
func tellsGap(t *testing.T, s *stage) {
	var now string
	if err := s.db.QueryRow(t.Context(), `SELECT outcrier.position()`).Scan(&now); err != nil {
		t.Fatal(err)
	}
	var keys position.Keys
	if err := keys.Read(t.Context(), s.db, outbox.DefaultSchema); err != nil {
		t.Fatal(err)
	}
	future, err := keys.Open(now)
	if err != nil {
		t.Fatal(err)
	}
	other := future
	other.History++
	future.Given.Max += 1 << 40
	future.Anchor.XID = future.Given.Max
	in := s.tabs.open(t, s.site.base+"/page")
	for _, test := range [][2]string{{keys.Seal(other), "other_history"}, {keys.Seal(future), "ahead"}, {"nonsense", "malformed"}} {
		before := len(s.held(t, "%"))
		in.eval(t, fmt.Sprintf("(globalThis.stream?.close(), sessionStorage.clear(), localStorage.setItem('outcrier:gap:' + JSON.stringify([location.origin + '/events', [], ['%s/**']]), %q))", s.topic, test[0]))
		s.listen(t, in, "remember: 'gap'")
		until(t, in, "the page is told of the gap", fmt.Sprintf("stream.told.some(([name, told]) => name === 'gap' && told.reason === %q)", test[1]))
		isLive(t, in)
		s.check(t, in, "a", "%", before)
	}
	s.leave(t, in)
}

// tokenExpires has tokens that are good for seconds, on a server that wants them.
func tokenExpires(t *testing.T, s *stage) {
	const words = "correct horse battery staple, 32 bytes and more"
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := auth.ParseSecret([]byte(words))
	if err != nil {
		t.Fatal(err)
	}
	guarded := startAs(t, "serve", "--dev", "--database-url", s.database, "--jwt-secret-file", secret, "--jwt-leeway", "0s", "--retry", "200ms", "--heartbeat", "1s", "--log-level", "error")
	here := *s
	here.site = newSite(t, guarded.base)
	var life atomic.Int64
	mint := func() string {
		token, err := auth.Mint(key, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{outbox.Pattern(s.topic + "/**")}}, time.Duration(life.Load()))
		if err != nil {
			t.Errorf("mint a token: %v", err)
		}
		return token
	}
	here.site.token = mint
	const token = "token: async () => (await fetch('/token')).text()"
	open := func(script string) tab {
		t.Helper()
		in := here.tabs.open(t, here.site.base+"/page")
		in.eval(t, script)
		here.listen(t, in, token)
		isLive(t, in)
		return in
	}
	// A page has half a token's life to renew it, which may be too short for one on a busy
	// machine: each try has twice as much as the one before.
	var right tab
	for expects := 8 * time.Second; ; expects *= 2 {
		life.Store(int64(expects))
		right = open("void 0")
		minted := here.site.minted.Load()
		testkit.Eventually(t, "the token is renewed", func() bool { return here.site.minted.Load() > minted })
		if value[int](t, right, "stream.told.filter(([name]) => name === 'goodbye').length") == 0 {
			break
		}
		if expects > testkit.Deadline {
			t.Fatalf("the server said goodbye: a token that is good for %v was not renewed before", expects)
		}
		here.leave(t, right)
	}
	life.Store(int64(4 * time.Second))
	ahead := open("void (Date.now = ((now) => () => now() + 3600_000)(Date.now))")
	behind := open("void (Date.now = ((now) => () => now() - 3600_000)(Date.now))")
	// A page that can't read its token learns from the server that it is over.
	late := open("void (atob = () => { throw new Error('unreadable') })")
	until(t, late, "the page is told that its token expired", "stream.told.filter(([name, told]) => name === 'goodbye' && told.reason === 'token_expired').length > 0")
	here.add(t, "a", "b")
	for _, in := range []tab{right, ahead, behind, late} {
		here.check(t, in, "a", "%", 0)
	}
	// The same token again is not good any more.
	once := here.page(t, fmt.Sprintf("token: %q", mint()))
	until(t, once, "the page is refused", "stream.state === 'closed'")
	here.leave(t, right, ahead, behind, late, once)
}
