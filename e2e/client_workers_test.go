package e2e

import (
	"fmt"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// followingWorker follows for pages that send it options and a port, and passes on what it is
// given.
const followingWorker = `
const follow = (port) => {
	port.onmessage = ({ data, ports: [other] }) => {
		const to = other ?? port;
		const stream = connect('/events', { heartbeat: 1000, ...data });
		stream.on('*', ({ id }) => to.postMessage({ id }));
		stream.on('outcrier.state', ({ state, via }) => to.postMessage({ state, via }));
	};
};
if ('onconnect' in self) self.onconnect = ({ ports: [port] }) => follow(port);
else follow(self);`

// openWorkers are the expressions that start a worker of each kind, as a port.
var openWorkers = map[string]string{
	"dedicated": "new Worker('/follows.js', { type: 'module' })",
	"shared":    "new SharedWorker('/follows.js', { type: 'module' }).port",
}

// work has a worker follow, and keeps its events in the page.
const work = `(async () => {
	const port = %s;
	globalThis.stream = { ids: [], states: [], told: [], state: '' };
	const channel = new MessageChannel();
	channel.port1.onmessage = ({ data: { id, state, via } }) => {
		if (id) return stream.ids.push(id);
		stream.state = state;
		stream.states.push(state + ' ' + via);
	};
	port.start?.();
	port.postMessage({ %s }, [channel.port2]);
})()`

// follows has a worker follow while the server is killed, alone and with a page that shares
// its connection.
func follows(kind string) func(*testing.T, *stage) {
	return func(t *testing.T, s *stage) {
		in := s.tabs.open(t, s.site.base+"/page")
		in.eval(t, fmt.Sprintf(work, openWorkers[kind], fmt.Sprintf("topics: ['%s/**'], share: '%s'", s.topic, kind)))
		isLive(t, in)
		page := s.page(t, fmt.Sprintf("share: '%s'", kind))
		isLive(t, page)
		testkit.Eventually(t, "worker and page have one stream", func() bool { return s.streams(t, "**") == 1 })
		s.add(t, "a", "b")
		s.server.kill()
		s.add(t, "c")
		s.server.restart(t)
		s.check(t, in, "d", "%", 0)
		s.same(t, page, s.held(t, "%"))
		page.close(t)
		s.check(t, in, "e", "%", 0)
		s.leave(t, in)
	}
}

// A service worker, in which nothing can be imported later, has all of the module from the
// beginning.
func TestClient_ServiceWorkerFollows(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	server := startAs(t, "serve", "--dev", "--database-url", database, "--retry", "200ms", "--heartbeat", "1s", "--log-level", "warn")
	net := newNetwork(t, server.base)
	s := &stage{&tabs{browser: newChromium(t)}, newSite(t, net.base), net, server, database, connect(t, database), "service-worker", "stream"}
	in := s.tabs.open(t, s.site.base+"/page")
	registered := "await navigator.serviceWorker.register('/follows-whole.js', { type: 'module', scope: '/elsewhere' }).then(async (one) => { while (!one.active) await new Promise((done) => setTimeout(done, 20)); return one.active; })"
	in.eval(t, fmt.Sprintf(work, registered, fmt.Sprintf("topics: ['%s/a'], share: true, remember: 'me', transport: 'websocket'", s.topic)))
	isLive(t, in)
	s.add(t, "a")
	s.server.kill()
	s.add(t, "a")
	s.server.restart(t)
	s.check(t, in, "a", "a", 0)
}

// partsAway has what the module loads when it is needed answered by 503: for tabs from the
// beginning, for topics while events are given. That is as a connection that fails, and no
// event is lost.
func partsAway(t *testing.T, s *stage) {
	here := *s
	here.site = newSite(t, s.net.base) // of which the browser has kept nothing
	s = &here
	s.site.partless.Store(true)
	sharing := s.page(t, "share: 'parts', from: 'earliest', retry: {max: 500}")
	until(t, sharing, "it waits", "stream.state === 'waiting'")
	testkit.Eventually(t, "parts are asked for again", func() bool { return s.site.refused.Load() > 4 })
	s.add(t, "a")

	in := s.page(t, fmt.Sprintf("topics: ['%s/a'], from: 'earliest', transport: 'stream', retry: {max: 500}", s.topic))
	isLive(t, in)
	in.eval(t, fmt.Sprintf("void stream.add('%s/b', {from: 'earliest'})", s.topic))
	until(t, in, "it waits too", "stream.state === 'waiting'")
	s.add(t, "b", "a", "other")

	s.site.partless.Store(false)
	isLive(t, in)
	s.check(t, in, "b", "_", 0)
	s.check(t, sharing, "a", "%", 0)
	s.leave(t, in, sharing)
}
