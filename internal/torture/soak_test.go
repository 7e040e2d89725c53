package torture

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
)

// soak is everyday load without end: streams, topics and nodes come and go at a steady
// rate, retention removes old events, and nothing may grow.
type soak struct {
	t     *testing.T
	url   string
	lasts time.Duration
	// keep is the age at which events are removed, and the time after that at which the
	// records of their removal are.
	keep time.Duration
	// streams is the number of places for streams, some of whose readers are away at
	// any time, and rate the events a second.
	streams, rate int
	// pace is 1, or less for all that lasts a while to be as much shorter.
	pace float64
	seed uint64

	// nodes stay up, third comes and goes.
	nodes  []*process
	third  *process
	up     addresses
	topics topics
	ledger ledger
	// moved are the ids that findMoved has found already.
	moved  map[int64]bool
	judged chan *visitor
	// closing is when all visitors are to stay until the end event.
	closing atomic.Bool

	given, lost, repeated, ended, resumes, polls atomic.Int64
	transactions, rolledBack, scheduled, posted  atomic.Int64
	drains, kills                                int
	silence                                      atomic.Int64 // the longest since the last sample, in ns
}

// addresses are where nodes serve.
type addresses struct {
	mu   sync.Mutex
	list []string
}

func (a *addresses) get() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list
}

func (a *addresses) set(list []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = list
}

// judgedFrom is the shortest soak whose figures tell anything of what an hour's do.
const judgedFrom = 10 * time.Minute

// TestSoak: an hour, or as long as SOAK says, of streams, topics and nodes that come
// and go. Nothing is lost, nothing comes twice, and neither the nodes nor Postgres
// grow. Without SOAK it takes some 15 s, and growth is not judged.
func TestSoak(t *testing.T) {
	alongside(t, "SOAK")
	s := &soak{t: t, streams: 40, rate: 100, seed: seed(t)}
	settings := map[string]string{}
	if text := os.Getenv("SOAK"); text != "" {
		lasts, err := time.ParseDuration(text)
		if err != nil || lasts < 10*time.Second {
			t.Fatalf("SOAK=%s: want a duration of 10s or more, like 1h", text)
		}
		s.lasting(lasts)
		s.streams, s.rate = 500, 200
		// The WAL is at its height after two checkpoints and a bit: 5 minutes
		// each, as they come, are too long for less than an hour.
		settings["checkpoint_timeout"] = fmt.Sprintf("%.0fs", min(5*time.Minute, max(30*time.Second, s.lasts/12)).Seconds())
	} else {
		s.lasting(9 * time.Second)
		s.pace = 0.04
		settings["fsync"] = "off"
	}
	s.streams, s.rate = number(t, "SOAK_STREAMS", s.streams), number(t, "SOAK_RATE", s.rate)
	s.start(settings)
	samples := s.run()
	s.report(samples)
}

// lasting sets how long the soak takes, and what follows from that.
func (s *soak) lasting(d time.Duration) {
	s.lasts = d
	s.keep = max(time.Minute, d/12).Round(time.Second)
	// No visitor is to come back so late that events are gone.
	s.pace = min(1, s.keep.Minutes()/5)
}

// paced is how long something takes that takes d in an hour's soak.
func (s *soak) paced(d time.Duration) time.Duration { return time.Duration(s.pace * float64(d)) }

// sampling is the time between samples.
func (s *soak) sampling() time.Duration { return max(time.Second, s.paced(10*time.Second)) }

// start starts Postgres as it comes, and the nodes.
func (s *soak) start(settings map[string]string) {
	t := s.t
	server := startPostgresOf(t, pgserver.Config{Settings: settings})
	s.url = server.URL("")
	// A month, as it comes, is longer than any soak: what grows until then would
	// look as if it grew for ever.
	execute(t, s.url, fmt.Sprintf(`CREATE OR REPLACE FUNCTION outcrier.removal_memory() RETURNS interval
		LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN interval '%d seconds'`, int(s.keep.Seconds())))
	args := []string{
		"--retention", "24h", "--topic-retention", fmt.Sprintf("soak/**=%v", s.keep), "--audit", "--metrics", "open",
		"--replay-buffer", "4MiB", "--queue", "256", "--heartbeat", "2s", "--stall", "10s", "--drain", "1s",
	}
	for _, program := range []string{raced(t), racedAtLength(t)} {
		s.nodes = append(s.nodes, newProcessOf(t, program, asNode(t, s.url), args...))
	}
	s.third = newProcess(t, asNode(t, s.url), args...)
	s.setUp(true)
	for _, n := range append(s.nodes, s.third) {
		testkit.Eventually(t, "a node is ready", n.ready)
	}
	s.judged = make(chan *visitor, 10_000)
}

// setUp says where visitors may go.
func (s *soak) setUp(third bool) {
	var list []string
	for _, n := range s.nodes {
		list = append(list, n.url)
	}
	if third {
		list = append(list, s.third.url)
	}
	s.up.set(list)
}

// run lets all go on for as long as the soak lasts, and then come to an end.
func (s *soak) run() *samples {
	t := s.t
	began := time.Now()
	// Whatever happens, nothing outlives the test.
	all, stopAll := context.WithCancel(context.Background())
	writing, stopWriting := context.WithCancel(all)
	sampling, stopSampling := context.WithCancel(all)
	var writers, visitors, judges, sampler sync.WaitGroup
	t.Cleanup(func() {
		stopAll()
		writers.Wait()
		visitors.Wait()
		sampler.Wait()
	})

	s.topics.fill()
	s.write(writing, &writers)
	for i := range s.streams {
		visitors.Go(func() { s.visit(all, i) })
	}
	judges.Go(s.judge)
	taken := newSamples(t, s)
	sampler.Go(func() { taken.take(sampling) })

	chance := rand.New(rand.NewPCG(s.seed, 1))
	for end := began.Add(s.lasts); time.Now().Before(end); {
		s.churn(chance, end)
	}

	stopSampling()
	sampler.Wait()
	stopWriting()
	writers.Wait()
	s.settleScheduled()
	s.closing.Store(true)
	done := make(chan struct{})
	go func() { defer close(done); visitors.Wait() }()
	limit := time.After(time.Minute)
	for n, closing := 1, true; closing; n++ {
		s.append(endOfSoak)
		select {
		case <-done:
			closing = false
		case <-limit:
			t.Errorf("a minute after the last commit there are readers who were not given it")
			stopAll()
			<-done
			closing = false
		case <-time.After(500 * time.Millisecond):
		}
	}
	close(s.judged)
	judges.Wait()
	t.Logf("%v, %d transactions and %d rolled back, %d events given to %d readers over %d resumes and %d polls; a node ended %d times, and was killed %d times",
		time.Since(began).Round(time.Second), s.transactions.Load(), s.rolledBack.Load(), s.given.Load(), s.ended.Load(), s.resumes.Load(), s.polls.Load(), s.drains, s.kills)
	if lost, repeated := s.lost.Load(), s.repeated.Load(); lost > 0 || repeated > 0 {
		t.Errorf("%d events were lost and %d came twice", lost, repeated)
	}
	for what, n := range map[string]int64{
		"events given": s.given.Load(), "readers": s.ended.Load(), "resumes": s.resumes.Load(), "polls": s.polls.Load(),
		"transactions rolled back": s.rolledBack.Load(), "events scheduled": s.scheduled.Load(), "events posted": s.posted.Load(),
		"nodes ended": int64(s.drains + s.kills),
	} {
		if n == 0 {
			t.Errorf("no %s", what)
		}
	}
	return taken
}

// churn lets the third node live for a while, end in one way or the other, and come
// back.
func (s *soak) churn(chance *rand.Rand, end time.Time) {
	stay := func(least, most time.Duration) {
		d := s.paced(least + rand.N(most-least))
		pause(s.t.Context(), min(d, time.Until(end)))
	}
	stay(30*time.Second, 60*time.Second)
	if !time.Now().Before(end) {
		return
	}
	if chance.IntN(4) == 0 {
		s.third.kill()
		s.kills++
	} else {
		s.third.drain()
		s.drains++
	}
	s.setUp(false)
	stay(5*time.Second, 20*time.Second)
	s.third.start()
	testkit.Eventually(s.t, "the third node is ready again", s.third.ready)
	s.setUp(true)
}

// report says what became of each series, and writes the CSV and the document.
func (s *soak) report(taken *samples) {
	t := s.t
	file := os.Getenv("SOAK_CSV")
	if file == "" && os.Getenv("SOAK") != "" {
		file = filepath.Join(os.TempDir(), fmt.Sprintf("outcrier-soak-%s.csv", time.Now().UTC().Format("20060102-150405")))
	}
	if file != "" {
		must(t, os.WriteFile(file, taken.csv(), 0o600))
		t.Logf("the samples are in %s", file)
	}
	taken.complete(t)
	verdicts := taken.verdicts(s.settled())
	document, graph := s.document(taken, verdicts), taken.graph()
	for _, m := range taken.measures {
		if !bytes.Contains(document, []byte("| "+m.title+" | ")) || !bytes.Contains(graph, []byte(escape(m.panel))) {
			t.Errorf("%s is not in the document, or not in the graph", m.title)
		}
	}
	if os.Getenv("SOAK") == "" {
		return
	}
	long := s.lasts >= judgedFrom
	for _, v := range verdicts {
		t.Log(v)
		if long && v.grows {
			t.Errorf("%s grows", v.title)
		}
	}
	folder := filepath.Dir(file)
	if os.Getenv("SOAK_UPDATE") != "" && !t.Failed() { // it says that nothing grows
		folder = filepath.Join("..", "..", "docs")
	}
	for name, content := range map[string][]byte{"soak.md": document, "soak.svg": graph} {
		name = filepath.Join(folder, name)
		must(t, os.WriteFile(name, content, 0o644))
		t.Logf("written: %s", name)
	}
}

// settled is when everything has had the time to fill up.
func (s *soak) settled() time.Duration { return max(2*s.keep+2*time.Minute, s.lasts/4) }

// topics are those that events are of at the moment: the oldest goes when another
// one comes.
type topics struct {
	mu     sync.Mutex
	active []string
	n      int
}

// There are activeTopics at a time, in topicAreas that patterns select.
const (
	activeTopics = 80
	topicAreas   = 16
)

func (o *topics) fill() {
	for range activeTopics {
		o.rotate()
	}
}

func (o *topics) rotate() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active = append(o.active, fmt.Sprintf("soak/%d/%d", o.n%topicAreas, o.n))
	o.n++
	if len(o.active) > activeTopics {
		o.active = slices.Delete(o.active, 0, 1)
	}
}

func (o *topics) one(r *rand.Rand) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.active[r.IntN(len(o.active))]
}
