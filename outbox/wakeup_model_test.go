package outbox

import (
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"
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
	noFence            fault = "no fence"
	noOwnXID           fault = "a fence of all that the snapshot lists and no more"
	oneTransaction     fault = "request and xid drawn in one transaction"
	noReadAfterRequest fault = "no read between request and sleep"
	lateListen         fault = "listen after the request"
	lastListen         fault = "listen after the last read"
	answerNewest       fault = "the newest request answered"
	answerOwn          fault = "the own request answered without a notification"
	answerNone         fault = "no request answered"
	keptRequest        fault = "a request kept when woken, as if nobody answered it"
	keptAwake          fault = "a request kept while events flow"
	lateTake           fault = "old notifications passed over once the request is drawn"
	restartRequest     fault = "a request kept over a lost connection"
	triggerBeforeXID   fault = "a trigger that looks before its transaction has an xid"
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

// modelTx is the open transaction of a writer or a tail. Without an xid it does
// not matter to anyone.
type modelTx struct {
	xid   uint8
	holds uint8 // the tails in whose fence it is, as bits
}

type modelWriter struct {
	at   writerAt
	tx   modelTx
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
	tx      modelTx
	request requestState
	own     uint8 // the xid drawn after the request, until the fence is made
	number  uint8 // of the request, for answerOwn
	heard   uint8 // the newest request notified for, to be answered
	unread  bool  // a committed row is not read
	deaf    bool  // has not said LISTEN, for lateListen and lastListen
	queue   [3]uint8
}

type tailAt uint8

const (
	tailDown tailAt = iota
	tailReading
	tailPausing   // for its fence, between two reads
	tailFlowing   // events flow: it stays awake, and answers
	tailAsking    // no request yet
	tailDrawing   // nextval's transaction has an xid, its request can't be seen yet
	tailDrawn     // the request can be seen, nextval's transaction is open
	tailNumbering // no xid of its own yet
	tailNumbered  // which is open
	tailDawdling  // has yet to LISTEN, for lateListen and lastListen
	tailAsleep
	tailAnswering // has compared the request heard, and will set it
)

type requestState uint8

const (
	noRequest requestState = iota
	freshRequest
	fencedRequest
)

// modelStep says who did what, and what came of it.
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
		aborted.complete(&aborted.writers[i].tx)
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
			w.tx.xid = s.nextXID()
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
	case w.tx.xid == 0:
		w.tx.xid, what = s.nextXID(), "gets its xid"
	default:
		s.complete(&w.tx)
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
		if m.fault == lateListen || m.fault == lastListen {
			t.deaf, what = true, "connects"
		}
	case tailReading, tailPausing:
		calm := s
		yield(tailNames[i], m.read(&calm, i), calm)
		t.unread, t.at, what = false, tailFlowing, "reads, and sees events flow"
		if m.fault == answerOwn {
			t.heard = max(t.heard, t.number)
		}
		if m.fault != keptAwake {
			s.dropRequest(i)
		}
	case tailFlowing:
		if m.answers(&s, i) {
			t.at = tailAnswering
		} else {
			t.at, t.heard = tailReading, 0
		}
		what = "compares the request heard"
	case tailAsking:
		if m.walledNextval {
			walled := s
			t := &walled.tails[i]
			t.at, t.tx.xid = tailDrawing, s.nextXID()
			yield(tailNames[i], "gets an xid for nextval", walled)
		}
		m.draw(&s, i)
		t.at, what = tailNumbering, "draws a request"
	case tailDrawing:
		m.draw(&s, i)
		t.at, what = tailDrawn, "draws a request"
	case tailDrawn:
		if m.fault == oneTransaction {
			t.own = t.tx.xid
		}
		s.complete(&t.tx)
		t.at, what = tailNumbering, "ends nextval's transaction"
	case tailNumbering:
		t.at, what = tailNumbered, "takes no xid"
		if m.fault != noOwnXID && t.own == 0 {
			t.own, what = s.nextXID(), "takes an xid"
			t.tx.xid = t.own
		}
	case tailNumbered:
		s.complete(&t.tx)
		t.at, what = tailReading, "ends its xid's transaction"
		switch m.fault {
		case noReadAfterRequest:
			t.at = tailAsleep
		case lateListen:
			t.at = tailDawdling
		}
	case tailDawdling:
		t.at, t.deaf, what = tailAsleep, false, "listens only now"
		if m.fault == lateListen {
			t.at = tailReading
		}
	case tailAsleep:
		return
	case tailAnswering:
		s.answered = t.heard
		t.at, t.heard, what = tailReading, 0, "answers"
	}
	yield(tailNames[i], what, s)
	m.take(before, i, yield)
}

// take is what a tail hears without waiting for it: before it answers, and before it
// draws a request, which is answer enough to those who notified for older ones.
func (m wakeUpModel) take(s modelState, i int, yield modelStep) {
	t := &s.tails[i]
	late := m.fault == lateTake && t.at == tailNumbering
	if t.queue[0] != 0 && (t.at == tailFlowing || t.at == tailAsking || late) {
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
	s.tails[i].request, s.tails[i].heard = freshRequest, 0
	if m.fault == answerOwn {
		s.tails[i].number = s.asked
	}
}

// read is one turn of Tail.follow while events come now and then, up to its wait.
func (m wakeUpModel) read(s *modelState, i int) string {
	t, what := &s.tails[i], "reads nothing"
	if t.unread {
		t.unread, what = false, "reads a row"
	}
	switch {
	case t.request == noRequest:
		t.at = tailAsking
		return what
	case t.request == freshRequest && m.fault != noFence:
		m.fence(s, i)
	}
	for tx := range s.open {
		if tx.holds&(1<<i) != 0 {
			t.at = tailPausing
			return what + " and waits for its fence"
		}
	}
	t.at = tailAsleep
	if t.deaf {
		t.at = tailDawdling
	}
	return what + " and goes to sleep"
}

// fence is made by the tail's own code, of what a snapshot lists: transactions
// in progress up to the latest completed one, and none beyond.
func (m wakeUpModel) fence(s *modelState, i int) {
	t := &s.tails[i]
	made := request{xid: uint64(t.own)}
	if m.fault == noOwnXID {
		made.xid = math.MaxUint64
	}
	xip := make([]uint64, 0, 8)
	for tx := range s.open {
		if tx.xid < s.latest {
			xip = append(xip, uint64(tx.xid))
		}
	}
	slices.Sort(xip)
	made.clear(xip)
	for tx := range s.open {
		if slices.Contains(made.fence, uint64(tx.xid)) {
			tx.holds |= 1 << i
		}
	}
	t.request, t.own = fencedRequest, 0
}

// answers is the first half of answer_wake_up: another may come in between.
func (m wakeUpModel) answers(s *modelState, i int) bool {
	return s.tails[i].heard > s.answered && m.fault != answerNone
}

// crash ends a tail's connection. Its transaction ends too, but an answer that
// was under way may still be given, at any time.
func (m wakeUpModel) crash(s *modelState, i int) {
	spend(&s.crashes)
	t := &s.tails[i]
	s.complete(&t.tx)
	if t.at == tailAnswering && s.orphan == 0 {
		s.orphan = t.heard
	}
	if m.fault != restartRequest || t.at < tailAsleep {
		s.dropRequest(i)
	}
	*t = modelTail{unread: t.unread, request: t.request}
}

func spend(n *uint8) {
	if *n != endless {
		*n--
	}
}

func (s *modelState) dropRequest(i int) {
	s.tails[i].request, s.tails[i].number, s.tails[i].own = noRequest, 0, 0
	for tx := range s.open {
		tx.holds &^= 1 << i
	}
}

// open yields the transactions that have an xid.
func (s *modelState) open(yield func(*modelTx) bool) {
	for i := range s.writers {
		if tx := &s.writers[i].tx; tx.xid != 0 && !yield(tx) {
			return
		}
	}
	for i := range s.tails {
		if tx := &s.tails[i].tx; tx.xid != 0 && !yield(tx) {
			return
		}
	}
}

func (s *modelState) nextXID() uint8 {
	last := s.latest
	for tx := range s.open {
		last = max(last, tx.xid)
	}
	return last + 1
}

func (s *modelState) complete(tx *modelTx) {
	s.latest = max(s.latest, tx.xid)
	*tx = modelTx{}
}

// ranked replaces xids and requests by the smallest numbers that keep their order.
func (s modelState) ranked() modelState {
	xids := uint64(1 | 1<<s.latest)
	requests := uint64(1 | 1<<s.asked | 1<<s.answered | 1<<s.orphan)
	for _, w := range s.writers {
		xids |= 1 << w.tx.xid
		requests |= 1 << w.seen
	}
	for _, t := range s.tails {
		xids |= 1<<t.tx.xid | 1<<t.own
		requests |= 1<<t.heard | 1<<t.number | 1<<t.queue[0] | 1<<t.queue[1] | 1<<t.queue[2]
	}
	rank := func(among uint64, n uint8) uint8 { return uint8(bits.OnesCount64(among & (1<<n - 1))) }
	s.latest = rank(xids, s.latest)
	s.asked, s.answered, s.orphan = rank(requests, s.asked), rank(requests, s.answered), rank(requests, s.orphan)
	for i, w := range s.writers {
		s.writers[i].tx.xid, s.writers[i].seen = rank(xids, w.tx.xid), rank(requests, w.seen)
	}
	for i, t := range s.tails {
		s.tails[i].tx.xid, s.tails[i].own = rank(xids, t.tx.xid), rank(xids, t.own)
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
		for i := range s.writers {
			s.writers[i].tx.swap()
		}
		for i := range s.tails {
			s.tails[i].tx.swap()
		}
	}
	for _, i := range [...]int{0, 1, 0} {
		if v, w := s.writers[i], s.writers[i+1]; v.order() > w.order() {
			s.writers[i], s.writers[i+1] = w, v
		}
	}
	return s
}

func (tx *modelTx) swap() { tx.holds = tx.holds>>1 | tx.holds&1<<1 }

func (w modelWriter) order() int { return int(w.at)<<16 | int(w.tx.xid)<<8 | int(w.seen) }

func (t modelTail) order() int {
	return int(t.at)<<40 | int(t.request)<<32 | int(t.own)<<24 | int(t.heard)<<16 | int(t.queue[0])<<8 | int(t.queue[1])
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
	models := []wakeUpModel{
		{tails: 1, writers: 3, transactions: 3, crashes: 1, walledNextval: true},
		{tails: 1, writers: 1, transactions: endless, crashes: 1, walledNextval: true},
		{tails: 2, writers: 1, transactions: 2, walledNextval: true},
		{tails: 2, writers: 2, transactions: 2, crashes: 1},
	}
	if !testing.Short() {
		models = append(models, wakeUpModel{tails: 2, writers: 2, transactions: 3})
	}
	for _, m := range models {
		states, quiet, trace := m.explore()
		t.Logf("%+v: %d states, %d of them quiet", m, states, quiet)
		if trace != nil || quiet == 0 {
			t.Errorf("%+v, with %d quiet states:\n%s", m, quiet, strings.Join(trace, "\n"))
		}
	}
}

// A check that finds nothing proves something only if it finds what is there.
func TestWakeUp_ModelFindsBrokenProtocols(t *testing.T) {
	one := wakeUpModel{tails: 1, writers: 1, transactions: 1, crashes: 1, walledNextval: true}
	two := wakeUpModel{tails: 2, writers: 1, transactions: 1, crashes: 1, walledNextval: true}
	twice := wakeUpModel{tails: 2, writers: 1, transactions: 1, crashes: 2}
	for f, m := range map[fault]wakeUpModel{
		noFence: one, noOwnXID: one, oneTransaction: one, triggerBeforeXID: one, noReadAfterRequest: one,
		lateListen: two, lastListen: one, keptRequest: two, keptAwake: one, restartRequest: twice,
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
