package tail

import (
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/internal/table"
)

// wakeUpModel is the protocol of wake-ups as a small machine, of which every order of
// steps is tried. A step is one touch of what writers and tails share. The idle
// turn is left out: notifications alone must wake a tail.
type wakeUpModel struct {
	tails, writers        int   // at the same time
	transactions, crashes uint8 // in all, or endless
	walledNextval         bool  // nextval may assign an xid; it does once in 32 times
	fault                 fault
}

const endless = math.MaxUint8

// fault is a way to get the protocol wrong.
type fault string

const (
	noWait            fault = "no wait for transactions in flight"
	noNextXID         fault = "a wait for all that the snapshot lists and no more"
	ownXID            fault = "the xid that nextval took for the next one"
	nextBeforeRequest fault = "the next xid read before the request can be seen"
	snapshotLater     fault = "the tail's Snapshot compared as of the end of its read"
	lastListen        fault = "listen after the last read"
	answerNewest      fault = "the newest request answered"
	answerOwn         fault = "the own request answered without a notification"
	answerNone        fault = "no request answered"
	keptRequest       fault = "a request kept when woken, as if no other tail answered it"
	keptAwake         fault = "a request kept while events flow"
	lateTake          fault = "notifications that come with the read's answer passed over"
	restartRequest    fault = "a request kept over a lost connection"
	triggerBeforeXID  fault = "a trigger that looks before its transaction has an xid"
)

// modelState is all there is at one moment. Xids and requests are ranks, because
// only their order matters: so endless histories have a limited number of states.
type modelState struct {
	asked, answered       uint8 // the sequences: seen by all at once, never rolled back
	latest                uint8 // the latest completed xid
	transactions, crashes uint8 // that may still come
	orphan                uint8 // an answer that a crashed tail's backend has yet to give
	writers               [3]modelWriter
	tails                 [2]modelTail
}

type modelWriter struct {
	at   writerAt
	xid  uint8 // of its open transaction
	seen uint8 // asked, as the trigger read it
}

type writerAt uint8

const (
	writerIdle writerAt = iota
	writerInserted
	writerReadAsked
	writerSilent // has read both, and will not notify
	writerNotifying
	writerCommitted // its notification is not in the queues yet
)

type modelTail struct {
	at      tailAt
	xid     uint8 // of its open transaction, if nextval took one
	request bool
	next    uint8 // the next xid after the request, once it is known
	min     uint8 // the least xid in flight in the present read's Snapshot
	number  uint8 // of the request, for answerOwn
	heard   uint8 // the newest request notified for, to be answered
	unread  bool  // a committed row is not read
	deaf    bool  // has not said LISTEN, for lastListen
	queue   [3]uint8
}

type tailAt uint8

const (
	tailDown tailAt = iota
	tailReading
	tailPausing  // for transactions in flight, between two reads
	tailFlowing  // events flow: it stays awake, and answers
	tailSnapped  // the read has its snapshot
	tailDrawing  // nextval has taken an xid, its request can't be seen yet
	tailDrawn    // the request can be seen
	tailDawdling // has yet to LISTEN, for lastListen
	tailAsleep
	tailAnswering // has compared the request heard, and will set it
)

// modelStep is a step of the model: the actor, the action and the result.
type modelStep func(who, what string, next modelState)

// steps yields all that can happen next.
func (m wakeUpModel) steps(s modelState, yield modelStep) {
	for i := range m.writers {
		m.writerSteps(s, i, yield)
	}
	for i := range m.tails {
		m.tailSteps(s, i, yield)
	}
	if s.orphan != 0 {
		s.answered, s.orphan = s.orphan, 0
		yield("a crashed tail's backend", "answers", s)
	}
}

var (
	writerNames = [...]string{"writer 1", "writer 2", "writer 3"}
	tailNames   = [...]string{"tail 1", "tail 2"}
)

// writerSteps follows the trigger append_row.
func (m wakeUpModel) writerSteps(s modelState, i int, yield modelStep) {
	w, what := &s.writers[i], ""
	if w.at != writerIdle && w.at != writerCommitted {
		aborted := s
		aborted.complete(&aborted.writers[i].xid)
		aborted.writers[i] = modelWriter{}
		yield(writerNames[i], "aborts", aborted)
	}
	switch {
	case w.at == writerIdle && s.transactions == 0:
		return
	case w.at == writerIdle:
		spend(&s.transactions)
		w.at, what = writerInserted, "begins an INSERT"
		if m.fault != triggerBeforeXID {
			w.xid = s.nextXID()
		}
	case w.at == writerInserted:
		w.at, w.seen, what = writerReadAsked, s.asked, "reads asked"
	case w.at == writerReadAsked && w.seen > s.answered:
		w.at, what = writerNotifying, "reads answered, will notify"
	case w.at == writerReadAsked:
		w.at, w.seen, what = writerSilent, 0, "reads answered, won't notify"
	case w.at == writerCommitted:
		for i := range s.tails {
			t := &s.tails[i]
			end := slices.Index(t.queue[:], 0)
			if end < 0 {
				return // it has to wait, which only the model makes it do
			}
			if t.at != tailDown && !t.deaf {
				t.queue[end] = w.seen
			}
		}
		*w, what = modelWriter{}, "notifies"
	case w.xid == 0:
		w.xid, what = s.nextXID(), "gets its xid"
	default:
		s.complete(&w.xid)
		if w.at == writerNotifying {
			w.at = writerCommitted
			yield(writerNames[i], "commits no row", s) // an INSERT that is rolled back to a savepoint notifies all the same
		} else {
			w.at = writerIdle
		}
		for t := range m.tails {
			s.tails[t].unread = true
		}
		what = "commits"
	}
	yield(writerNames[i], what, s)
}

// tailSteps follows Tail.session, Tail.follow and listener.
func (m wakeUpModel) tailSteps(s modelState, i int, yield modelStep) {
	before := s
	if s.tails[i].at != tailDown && s.crashes > 0 {
		crashed := s
		m.crash(&crashed, i)
		yield(tailNames[i], "crashes", crashed)
	}
	if t := s.tails[i]; t.queue[0] != 0 && (t.at == tailAsleep || t.at == tailPausing) {
		notified := s
		m.hear(&notified, i)
		notified.tails[i].at = tailReading
		if m.fault != keptRequest {
			notified.dropRequest(i)
		}
		yield(tailNames[i], "is notified", notified)
	}
	t, what := &s.tails[i], ""
	switch t.at {
	case tailDown:
		t.at, what = tailReading, "listens"
		if m.fault == lastListen {
			t.deaf, what = true, "connects"
		}
	case tailReading, tailPausing:
		calm := s
		calm.tails[i].unread, calm.tails[i].min, calm.tails[i].at = false, s.leastXID(), tailSnapped
		if m.fault == nextBeforeRequest && !t.request {
			calm.tails[i].next = s.nextXID()
		}
		yield(tailNames[i], "takes a snapshot", calm)
		m.flows(&s, i)
		t.unread, what = false, "reads, and sees events flow"
	case tailFlowing:
		if m.answers(&s, i) {
			t.at = tailAnswering
		} else {
			t.at, t.heard = tailReading, 0
		}
		what = "compares the request heard"
	case tailSnapped:
		if !t.request && m.walledNextval {
			walled := s
			t := &walled.tails[i]
			t.at, t.xid = tailDrawing, s.nextXID()
			yield(tailNames[i], "gets an xid for nextval", walled)
		}
		what = "has drawn its request"
		if !t.request {
			m.draw(&s, i)
			what = "draws a request"
		}
		t.at = tailDrawn
	case tailDrawing:
		m.draw(&s, i)
		t.at, what = tailDrawn, "draws a request"
	case tailDrawn:
		m.decide(&s, i)
		flows := s
		m.flows(&flows, i)
		yield(tailNames[i], "ends its read, and sees events flow", flows)
		what = "ends its read, and waits for transactions in flight"
		if t.at != tailPausing {
			what = "ends its read, and goes to sleep"
		}
	case tailDawdling:
		t.at, t.deaf, what = tailAsleep, false, "listens only now"
	case tailAsleep:
		return
	case tailAnswering:
		s.answered = t.heard
		t.at, t.heard, what = tailReading, 0, "answers"
	}
	yield(tailNames[i], what, s)
	m.take(before, i, yield)
}

// take is what a tail hears without waiting for it: before it answers, and before the read
// that draws a request, which is answer enough to those who notified for older ones.
func (m wakeUpModel) take(s modelState, i int, yield modelStep) {
	t := &s.tails[i]
	late := m.fault == lateTake && t.at == tailDrawn
	if t.queue[0] != 0 && (t.at == tailFlowing || t.at == tailReading && !t.request || late) {
		m.hear(&s, i)
		if late {
			t.heard = 0
		}
		yield(tailNames[i], "hears a notification", s)
	}
}

func (m wakeUpModel) hear(s *modelState, i int) {
	t := &s.tails[i]
	heard := t.queue[0]
	if m.fault == answerNewest {
		heard = s.asked
	}
	t.heard, t.queue = max(t.heard, heard), [3]uint8{t.queue[1], t.queue[2]}
}

// draw is the moment when a request can be seen.
func (m wakeUpModel) draw(s *modelState, i int) {
	s.asked++
	s.tails[i].request, s.tails[i].heard = true, 0
	if m.fault == answerOwn {
		s.tails[i].number = s.asked
	}
}

// decide is the end of a read, by the tail's own code.
func (m wakeUpModel) decide(s *modelState, i int) {
	t := &s.tails[i]
	switch {
	case m.fault == ownXID && t.next == 0 && t.xid != 0:
		t.next = t.xid
	case m.fault == noNextXID && t.next == 0:
		t.next = s.latest + 1
	case t.next == 0 && t.xid == 0:
		t.next = s.nextXID()
	}
	if m.fault == snapshotLater {
		t.min = s.leastXID()
	}
	s.complete(&t.xid)
	made := request{next: uint64(t.next)}
	switch {
	case m.fault != noWait && !made.clear(table.Snapshot{Min: uint64(t.min)}):
		t.at = tailPausing
	case t.deaf:
		t.at = tailDawdling
	default:
		t.at = tailAsleep
	}
	t.min = 0
}

// flows is what a tail does that sees events flow: it stays awake.
func (m wakeUpModel) flows(s *modelState, i int) {
	t := &s.tails[i]
	t.at = tailFlowing
	if m.fault == answerOwn {
		t.heard = max(t.heard, t.number)
	}
	if m.fault != keptAwake {
		s.dropRequest(i)
	}
}

// answers is the first half of answer_wake_up: another may come in between.
func (m wakeUpModel) answers(s *modelState, i int) bool {
	return s.tails[i].heard > s.answered && m.fault != answerNone
}

// crash ends a tail's connection. Its transaction ends too, but an answer that was
// under way may still arrive, at any time.
func (m wakeUpModel) crash(s *modelState, i int) {
	spend(&s.crashes)
	t := &s.tails[i]
	s.complete(&t.xid)
	if t.at == tailAnswering && s.orphan == 0 {
		s.orphan = t.heard
	}
	if m.fault != restartRequest || t.at != tailAsleep {
		s.dropRequest(i)
	}
	*t = modelTail{unread: t.unread, request: t.request, next: t.next}
}

func spend(n *uint8) {
	if *n != endless {
		*n--
	}
}

func (s *modelState) dropRequest(i int) {
	s.tails[i].request, s.tails[i].number, s.tails[i].next = false, 0, 0
}

// open yields the xids of open transactions.
func (s *modelState) open(yield func(uint8) bool) {
	for i := range s.writers {
		if xid := s.writers[i].xid; xid != 0 && !yield(xid) {
			return
		}
	}
	for i := range s.tails {
		if xid := s.tails[i].xid; xid != 0 && !yield(xid) {
			return
		}
	}
}

func (s *modelState) nextXID() uint8 {
	last := s.latest
	for xid := range s.open {
		last = max(last, xid)
	}
	return last + 1
}

// leastXID is a snapshot's xmin: its list has transactions up to the latest completed one,
// and none beyond.
func (s *modelState) leastXID() uint8 {
	least := s.latest + 1
	for xid := range s.open {
		least = min(least, xid)
	}
	return least
}

func (s *modelState) complete(xid *uint8) {
	s.latest = max(s.latest, *xid)
	*xid = 0
}

// ranked replaces xids and requests by the smallest numbers that keep their order.
func (s modelState) ranked() modelState {
	xids := uint64(1 | 1<<s.latest)
	requests := uint64(1 | 1<<s.asked | 1<<s.answered | 1<<s.orphan)
	for _, w := range s.writers {
		xids |= 1 << w.xid
		requests |= 1 << w.seen
	}
	for _, t := range s.tails {
		xids |= 1<<t.xid | 1<<t.next | 1<<t.min
		requests |= 1<<t.heard | 1<<t.number | 1<<t.queue[0] | 1<<t.queue[1] | 1<<t.queue[2]
	}
	rank := func(among uint64, n uint8) uint8 { return uint8(bits.OnesCount64(among & (1<<n - 1))) }
	s.latest = rank(xids, s.latest)
	s.asked, s.answered, s.orphan = rank(requests, s.asked), rank(requests, s.answered), rank(requests, s.orphan)
	for i, w := range s.writers {
		s.writers[i].xid, s.writers[i].seen = rank(xids, w.xid), rank(requests, w.seen)
	}
	for i, t := range s.tails {
		s.tails[i].xid, s.tails[i].next, s.tails[i].min = rank(xids, t.xid), rank(xids, t.next), rank(xids, t.min)
		s.tails[i].heard, s.tails[i].number = rank(requests, t.heard), rank(requests, t.number)
		for j, payload := range t.queue {
			s.tails[i].queue[j] = rank(requests, payload)
		}
	}
	return s
}

// key is the same for states that differ only in which writer is which, and in
// which tail is which.
func (s modelState) key() modelState {
	if a, b := s.tails[0], s.tails[1]; a.order() > b.order() {
		s.tails[0], s.tails[1] = b, a
	}
	for _, i := range [...]int{0, 1, 0} {
		if v, w := s.writers[i], s.writers[i+1]; v.order() > w.order() {
			s.writers[i], s.writers[i+1] = w, v
		}
	}
	return s
}

func (w modelWriter) order() int { return int(w.at)<<16 | int(w.xid)<<8 | int(w.seen) }

func (t modelTail) order() int {
	return int(t.at)<<40 | int(t.min)<<32 | int(t.next)<<24 | int(t.heard)<<16 | int(t.queue[0])<<8 | int(t.queue[1])
}

// quiet says that nothing is left to happen by itself.
func (m wakeUpModel) quiet(s *modelState) bool {
	busy := func(t modelTail) bool { return t.at != tailDown && t.at != tailAsleep || t.queue[0] != 0 }
	return s.writers == [3]modelWriter{} && s.orphan == 0 && !slices.ContainsFunc(s.tails[:m.tails], busy)
}

// broken says how s breaks the promise: a sleeping tail has read all that is
// committed or is about to be notified; and when all is quiet, one more commit
// wakes every sleeper, and their answers end the notifications.
func (m wakeUpModel) broken(s modelState) string {
	about := func(w modelWriter) bool { return w.at == writerCommitted }
	for i, t := range s.tails {
		if t.at == tailAsleep && t.unread && t.queue[0] == 0 && !slices.ContainsFunc(s.writers[:], about) {
			return tailNames[i] + " sleeps on a row"
		}
	}
	asleep := func(t modelTail) bool { return t.at == tailAsleep }
	if !m.quiet(&s) || !slices.ContainsFunc(s.tails[:], asleep) {
		return ""
	}
	s.transactions, s.crashes = 1, 0
	for s.transactions > 0 || s.writers[0].at != writerIdle {
		s = m.last(s, writerNames[0])
	}
	for i := range m.tails {
		// Awake again, and as if events flowed, the tail answers.
		for t := &s.tails[i]; t.at == tailAsleep && t.queue[0] != 0 || t.at != tailAsleep && t.heard != 0; {
			s = m.last(s, tailNames[i])
		}
		if s.tails[i].at == tailAsleep {
			return tailNames[i] + " would not be woken by the next commit"
		}
	}
	if s.answered < s.asked {
		return "writers would still notify after the next commit"
	}
	return ""
}

// last takes one's last step of those it can take, which is not to abort.
func (m wakeUpModel) last(s modelState, one string) (to modelState) {
	m.steps(s, func(who, _ string, next modelState) {
		if who == one {
			to = next
		}
	})
	return to
}

// explore takes every step from every state, nearest first, and returns the
// shortest way to break the promise, if there is one.
func (m wakeUpModel) explore() (states, quiet int, trace []string) {
	type node struct {
		state  modelState
		parent int
	}
	first := modelState{transactions: m.transactions, crashes: m.crashes}
	nodes, seen := []node{{first, -1}}, map[modelState]bool{first: true}
	for i := 0; i < len(nodes); i++ {
		s := nodes[i].state
		if m.quiet(&s) {
			quiet++
		}
		if how := m.broken(s); how != "" {
			trace = []string{how}
			for n := nodes[i]; n.parent >= 0; n = nodes[n.parent] {
				m.steps(nodes[n.parent].state, func(who, what string, next modelState) {
					if next.ranked() == n.state {
						trace = append(trace, who+" "+what)
					}
				})
			}
			slices.Reverse(trace)
			break
		}
		m.steps(s, func(_, _ string, next modelState) {
			next = next.ranked()
			if key := next.key(); !seen[key] {
				seen[key] = true
				nodes = append(nodes, node{next, i})
			}
		})
	}
	return len(nodes), quiet, trace
}

func TestWakeUp_NoneIsLost(t *testing.T) {
	t.Parallel()
	models := []wakeUpModel{
		{tails: 1, writers: 2, transactions: 2, crashes: 1, walledNextval: true},
		{tails: 1, writers: 1, transactions: endless, crashes: 1, walledNextval: true},
		// In the next two TestWakeUp_ModelFindsBrokenProtocols finds every fault that takes two tails.
		{tails: 2, writers: 1, transactions: 1, crashes: 1, walledNextval: true},
		{tails: 2, writers: 1, transactions: 1, crashes: 2},
		{tails: 2, writers: 2, transactions: 2},
	}
	if testkit.Long() {
		models = append(models,
			wakeUpModel{tails: 1, writers: 3, transactions: 3, crashes: 1, walledNextval: true},
			wakeUpModel{tails: 2, writers: 1, transactions: 2, walledNextval: true},
			wakeUpModel{tails: 2, writers: 2, transactions: 2, crashes: 1},
			wakeUpModel{tails: 2, writers: 2, transactions: 3})
	}
	for _, m := range models {
		states, quiet, trace := m.explore()
		t.Logf("%+v: %d states, %d of them quiet", m, states, quiet)
		if trace != nil || quiet == 0 {
			t.Errorf("%+v, with %d quiet states:\n%s", m, quiet, strings.Join(trace, "\n"))
		}
	}
}

// A check that finds nothing proves something only if it can find a fault.
func TestWakeUp_ModelFindsBrokenProtocols(t *testing.T) {
	one := wakeUpModel{tails: 1, writers: 1, transactions: 1, crashes: 1, walledNextval: true}
	two := wakeUpModel{tails: 2, writers: 1, transactions: 1, crashes: 1, walledNextval: true}
	twice := wakeUpModel{tails: 2, writers: 1, transactions: 1, crashes: 2}
	for f, m := range map[fault]wakeUpModel{
		noWait: one, noNextXID: one, ownXID: one, nextBeforeRequest: one, snapshotLater: one, triggerBeforeXID: one,
		lastListen: one, keptRequest: two, keptAwake: one, restartRequest: twice,
		answerNewest: two, answerOwn: two, answerNone: one, lateTake: two,
	} {
		t.Run(string(f), func(t *testing.T) {
			m.fault = f
			states, _, trace := m.explore()
			t.Logf("%d states, %d steps:\n%s", states, len(trace)-1, strings.Join(trace, "\n"))
			if trace == nil {
				t.Error("not found")
			}
		})
	}
}
