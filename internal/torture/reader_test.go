package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// endTopic carries one event, appended when all else has committed. By P4 it is the
// last one on every stream, so a reader that has it must have all.
const endTopic = "torture/end"

// reader follows some topics, drops at random, and resumes at any node.
type reader struct {
	name     string
	filter   outbox.Filter
	from     string // where it starts: a position, or "earliest"
	nodes    func() []string
	rand     *rand.Rand
	slow     bool
	longGone bool
	steady   *atomic.Bool // no more drops
	live     atomic.Bool  // has met live once
	// patience, when not 0, is the silence after which it takes its connection for
	// dead.
	patience time.Duration
	// forgiving is set for a reader that may get gaps, and events that are no longer in
	// the table. After a gap of another history it begins again.
	forgiving atomic.Bool
	// byPayload, when not nil, counts events by what they carry: ids come again.
	byPayload map[payload]int
	// erasures, when not nil, has the events that must not come any more.
	erasures *erasures
	// hold, when not nil, keeps the reader from reading on once it is live, until the
	// channel is closed.
	hold chan struct{}

	last     string           // the last id, as a browser has it
	given    []uint64         // a bit for each id
	chains   map[string]int   // the last N of each chain
	faults   []string         // promises that were broken
	repeated []int64          // events that came twice
	lost     []int64          // what check has missed
	unproven []string         // positions that had a gap and should not
	count    int              // events received
	resumes  int              // connections after the first
	ended    bool             // the end was seen
	ids      map[string]int64 // the id of the last of each chain, for reports
	known    int64            // the last round of erasures before this stream began

	// Read by other goroutines.
	mu      sync.Mutex
	probe   int           // the newest probe received
	at      time.Time     // of the last event
	silence time.Duration // the longest between two events
	gaps    []string      // the reported reasons
	away    bool          // it stays away
	hangUp  func()        // ends its connection
	refused []string      // connections that could not be had
}

// ends are the connections that could not be had.
func (r *reader) ends() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refused)
}

// leave hangs up, and stays away until comeBack.
func (r *reader) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	if r.hangUp != nil {
		r.hangUp()
	}
}

func (r *reader) comeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
}

// connects reports whether the reader is to connect, and how to end that.
func (r *reader) connects(hangUp func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangUp = hangUp
	return !r.away
}

// silences begins a new longest silence, and returns the one so far.
func (r *reader) silences() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	silence := r.silence
	r.silence, r.at = 0, time.Now()
	return silence
}

// lastEventAt returns when its last event came, for those who look on.
func (r *reader) lastEventAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// quietFor is how long ago the last event came, 0 before the first one.
func (r *reader) quietFor() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() {
		return 0
	}
	return time.Since(r.at)
}

func (r *reader) probed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.probe
}

func (r *reader) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.gaps)
}

func (r *reader) fault(format string, args ...any) {
	if len(r.faults) < 5 {
		r.faults = append(r.faults, r.name+": "+fmt.Sprintf(format, args...))
	}
}

func (r *reader) has(id int64) bool {
	return int(id/64) < len(r.given) && r.given[id/64]&(1<<(id%64)) != 0
}

// run reads until the end event or ctx's end.
func (r *reader) run(ctx context.Context) {
	r.chains, r.ids = map[string]int{}, map[string]int64{}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil && r.slow {
			_ = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		}
		return conn, err
	}}
	client := &http.Client{Transport: transport}
	for !r.ended && ctx.Err() == nil {
		nodes := r.nodes()
		err := r.connect(ctx, client, nodes[r.rand.IntN(len(nodes))])
		if err != nil && ctx.Err() == nil && !r.ended {
			pause(ctx, 20*time.Millisecond)
		}
		if r.longGone && !r.steady.Load() {
			pause(ctx, time.Duration(r.rand.Int64N(int64(5*time.Second))))
		}
	}
}

// connect reads one stream for a while.
func (r *reader) connect(ctx context.Context, client *http.Client, base string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !r.connects(cancel) {
		return errors.New("away")
	}
	heard := func() {}
	if r.patience > 0 {
		impatient := time.AfterFunc(r.patience, cancel)
		defer impatient.Stop()
		heard = func() { impatient.Reset(r.patience) }
	}
	query := url.Values{"format": {"payload"}, "from": {r.from}}
	for _, p := range append(r.filter.Topics, endTopic) {
		query.Add("topic", string(p))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/events?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	if r.last != "" {
		request.Header.Set("Last-Event-ID", r.last)
		r.resumes++
	}
	r.known = r.erasures.known()
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			r.mu.Lock()
			r.refused = append(r.refused, err.Error())
			r.mu.Unlock()
		}
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		r.fault("status %d", response.StatusCode)
		return errors.New("refused")
	}
	drop := 1 + r.rand.IntN(2000)
	if r.rand.IntN(4) == 0 {
		drop = 1 + r.rand.IntN(20)
	}
	if r.rand.IntN(2) == 0 {
		// By time too: in the middle of whatever is under way.
		timer := time.AfterFunc(time.Duration(r.rand.Int64N(int64(3*time.Second))), func() {
			if !r.steady.Load() {
				cancel()
			}
		})
		defer timer.Stop()
	}
	var id, event string
	var data []byte
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		heard()
		line = bytes.TrimSuffix(line, []byte("\n"))
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch string(field) {
		case "id":
			id = string(value)
		case "event":
			event = string(value)
		case "data":
			data = value
		case "":
			if len(line) > 0 || event == "" {
				continue
			}
			came := r.last
			if id != "" {
				r.last = id
			}
			r.dispatch(event, id, data, came)
			if r.hold != nil && event == "outcrier.live" {
				select {
				case <-r.hold:
				case <-ctx.Done():
				}
			}
			id, event, data = "", "", nil
			if r.ended {
				return nil
			}
			if drop--; drop <= 0 && !r.steady.Load() {
				return nil
			}
			if r.slow && !r.steady.Load() && r.rand.IntN(50) == 0 {
				pause(ctx, 20*time.Millisecond)
			}
		}
	}
}

// dispatch takes an event; came is the position that the reader had before.
func (r *reader) dispatch(event, at string, data []byte, came string) {
	switch event {
	case "outcrier.hello":
		r.greet(data, came)
		return
	case "outcrier.live":
		r.live.Store(true)
		return
	case "outcrier.position", "outcrier.goodbye":
		return
	case "torture.ended":
		r.ended = true
		return
	case "torture.probe":
		var p payload
		if err := json.Unmarshal(data, &p); err != nil {
			r.fault("probe %s: %v", data, err)
		}
		r.mu.Lock()
		r.probe = p.N
		r.mu.Unlock()
		return
	}
	r.mu.Lock()
	now := time.Now()
	if !r.at.IsZero() {
		r.silence = max(r.silence, now.Sub(r.at))
	}
	r.at = now
	r.mu.Unlock()
	text, _, _ := bytes.Cut([]byte(at), []byte("."))
	id, err := strconv.ParseInt(string(text), 10, 64)
	var p payload
	if err := errors.Join(err, json.Unmarshal(data, &p)); err != nil {
		r.fault("event %q %s: %v", at, data, err)
		return
	}
	if r.erasures.gone(id, p, r.known) {
		r.fault("event %d, %s, was erased and came all the same", id, p)
	}
	if r.byPayload != nil {
		if r.byPayload[p]++; r.byPayload[p] > 1 {
			r.fault("event %d, %s, came twice", id, p)
		}
		return
	}
	for len(r.given) <= int(id/64) {
		r.given = append(r.given, make([]uint64, 1+len(r.given))...)
	}
	if r.has(id) {
		r.fault("event %d came twice", id)
		r.repeated = append(r.repeated, id)
	}
	r.given[id/64] |= 1 << (id % 64)
	r.count++
	if r.chains[p.Chain] >= p.N {
		r.fault("order: event %d is %s after %d (event %d)", id, p, r.chains[p.Chain], r.ids[p.Chain])
	}
	r.chains[p.Chain], r.ids[p.Chain] = p.N, id
}

// greet checks a hello: a reader that comes back is resumed, or gets a gap.
func (r *reader) greet(data []byte, came string) {
	var hello struct {
		Resumed          any
		Position, Reason string
	}
	if err := json.Unmarshal(data, &hello); err != nil {
		r.fault("hello %s: %v", data, err)
		return
	}
	if hello.Resumed != "gap" {
		if back := r.resumes > 0 || r.from != "earliest"; hello.Resumed != back {
			r.fault("hello %s, and it comes back: %t", data, back)
		}
		return
	}
	r.mu.Lock()
	r.gaps = append(r.gaps, hello.Reason)
	r.mu.Unlock()
	if !r.forgiving.Load() {
		r.fault("hello %s for %s", data, came)
		r.unproven = append(r.unproven, came)
	}
	if hello.Reason != string(position.Trimmed) {
		r.from, r.given, r.count = hello.Position, nil, 0
		r.chains, r.ids = map[string]int{}, map[string]int64{}
	}
}

// row is a committed event.
type row struct {
	id    int64
	xid   uint64
	topic string
}

// check compares the events that the reader received with the table.
func (r *reader) check(keys *position.Keys, rows []row, ordered bool) []string {
	faults := r.faults
	if !ordered {
		faults = nil
		for _, f := range r.faults {
			if !bytes.Contains([]byte(f), []byte("order:")) {
				faults = append(faults, f)
			}
		}
	}
	start := position.Position{}
	if r.from != "earliest" {
		var err error
		if start, err = keys.Open(r.from); err != nil {
			return append(faults, fmt.Sprintf("%s: from %s: %v", r.name, r.from, err))
		}
	}
	var anchors []uint64
	for _, text := range r.unproven {
		came, err := keys.Open(text)
		faults = append(faults, fmt.Sprintf("%s: %s is %s, %v", r.name, text, came, err))
		anchors = append(anchors, came.Anchor.XID)
	}
	lost, wanted := 0, 0
	for _, row := range rows {
		if slices.Contains(anchors, row.xid) {
			faults = append(faults, fmt.Sprintf("%s: the anchor's transaction %d has event %d", r.name, row.xid, row.id))
		}
		if !r.filter.Match(row.topic, "torture.happened") || start.Has(row.xid, row.id) {
			continue
		}
		wanted++
		if !r.has(row.id) {
			r.lost = append(r.lost, row.id)
			if lost++; lost < 4 {
				faults = append(faults, fmt.Sprintf("%s: event %d (xid %d, topic %s) was lost", r.name, row.id, row.xid, row.topic))
			}
		}
	}
	if !r.ended {
		faults = append(faults, r.name+": the end never came")
	}
	if extra := r.count - r.erasures.goneOf(r) - (wanted - lost); extra != 0 && len(faults) == 0 && !r.forgiving.Load() {
		faults = append(faults, fmt.Sprintf("%s: %d events that it should not have had", r.name, extra))
	}
	if lost > 0 {
		faults = append(faults, fmt.Sprintf("%s: %d of %d events lost", r.name, lost, wanted))
	}
	return faults
}
