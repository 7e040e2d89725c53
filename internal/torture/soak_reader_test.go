package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// visitor opens a stream, leaves after a while, comes back, and some time leaves for
// good. The events that it received are checked then.
type visitor struct {
	*soak
	name   string
	rand   *rand.Rand
	filter outbox.Filter
	// slow reads too slowly for its topics, polling polls instead.
	slow, polling bool
	client        *http.Client

	began, left time.Time
	start, last string  // positions
	given       []int64 // ids
	ended       bool    // the end of the soak was seen
}

var (
	visiting     = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	visitingSlow = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_ = conn.(*net.TCPConn).SetReadBuffer(32 << 10)
		}
		return conn, err
	}}}
)

// visit lets one visitor follow the other until the soak ends.
func (s *soak) visit(ctx context.Context, place int) {
	chance := rand.New(rand.NewPCG(s.seed, uint64(10_000+place)))
	pause(ctx, s.paced(time.Duration(chance.Int64N(int64(10*time.Second)))))
	for n := 0; ctx.Err() == nil && !s.closing.Load(); n++ {
		v := &visitor{soak: s, name: fmt.Sprintf("visitor %d at place %d", n, place), rand: chance, client: visiting, began: time.Now()}
		v.choose()
		v.polling = place%40 == 0
		if v.polling {
			v.slow, v.client = false, visiting
		}
		v.run(ctx)
		v.left = time.Now()
		s.judged <- v
	}
}

// choose decides what the visitor is about.
func (v *visitor) choose() {
	topics := []outbox.Pattern{pulseTopic}
	area := v.rand.IntN(topicAreas)
	switch k := v.rand.IntN(100); {
	case k < 1:
		topics = []outbox.Pattern{"soak/**"}
	case k < 5:
		topics = append(topics, outbox.Pattern(fmt.Sprintf("soak/%d/*", area)), "soak/later/*")
	case k < 10:
		v.slow, v.client = true, visitingSlow
		topics = append(topics, outbox.Pattern(fmt.Sprintf("soak/%d/**", area)), outbox.Pattern(fmt.Sprintf("soak/%d/*", (area+1)%topicAreas)))
	default:
		for range 1 + v.rand.IntN(4) {
			topics = append(topics, outbox.Pattern(v.topics.one(v.rand)))
		}
	}
	slices.Sort(topics)
	v.filter = outbox.Filter{Topics: slices.Compact(topics)}
}

// run is the whole visit, some 5 minutes at most: retention must not overtake a slow
// reader.
func (v *visitor) run(ctx context.Context) {
	for ctx.Err() == nil && !v.ended {
		stay, cancel := context.WithCancel(ctx)
		time.AfterFunc(v.paced(time.Second+rand.N(119*time.Second)), func() {
			if !v.closing.Load() {
				cancel()
			}
		})
		follow := v.follow
		if v.polling {
			follow = v.poll
		}
		err := follow(stay)
		left := stay.Err() != nil
		cancel()
		switch {
		case v.ended:
			return
		case !left:
			// The node ended it, or isn't there: come back, as browsers do.
			_ = err
			pause(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond))
		case v.closing.Load():
		case v.rand.IntN(4) == 0 || time.Since(v.began).Seconds() > v.pace*300, v.slow && time.Since(v.began).Seconds() > v.pace*120:
			return
		case v.rand.IntN(10) == 0:
			pause(ctx, v.paced(rand.N(40*time.Second)))
		default:
			pause(ctx, v.paced(rand.N(5*time.Second)))
		}
	}
}

// request asks any node for the events after the last position.
func (v *visitor) request(ctx context.Context, query url.Values) (*http.Response, error) {
	for _, p := range v.filter.Topics {
		query.Add("topic", string(p))
	}
	nodes := v.up.get()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, nodes[rand.IntN(len(nodes))]+"/events?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if v.last != "" {
		if !v.polling {
			v.resumes.Add(1)
		}
		request.Header.Set("Last-Event-ID", v.last)
	}
	if v.polling {
		request.Header.Set("Accept", "application/json")
	}
	response, err := v.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		if !v.polling || response.StatusCode != http.StatusServiceUnavailable {
			v.t.Errorf("%s: %s", v.name, response.Status)
		}
		return nil, errors.New(response.Status)
	}
	return response, nil
}

// follow reads one stream.
func (v *visitor) follow(ctx context.Context) error {
	response, err := v.request(ctx, url.Values{"format": {"payload"}})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// Larger than any event.
	lines := bufio.NewReaderSize(response.Body, 32<<10)
	var id, event string
	var data []byte
	var heard time.Time
	defer func() { v.silent(heard) }()
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return err
		}
		field, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(": "))
		switch string(field) {
		case "id":
			id = string(value)
		case "event":
			event = string(value)
		case "data":
			if event == "outcrier.hello" {
				data = bytes.Clone(value)
			}
		case "":
			if len(line) > 1 || event == "" {
				continue
			}
			v.dispatch(event, id, data)
			if event == "outcrier.live" || !heard.IsZero() {
				v.silent(heard)
				heard = time.Now()
			}
			if v.ended {
				return nil
			}
			id, event, data = "", "", nil
			if v.slow && !v.closing.Load() {
				pause(ctx, 60*time.Millisecond)
			}
		}
	}
}

// silent takes note of a silence of a stream that was live, which is now over.
func (v *visitor) silent(since time.Time) {
	if since.IsZero() || v.slow {
		return
	}
	raise(&v.silence, int64(time.Since(since)))
}

func raise(most *atomic.Int64, n int64) {
	for {
		before := most.Load()
		if n <= before || most.CompareAndSwap(before, n) {
			return
		}
	}
}

func (v *visitor) dispatch(event, id string, data []byte) {
	if event == "outcrier.hello" {
		var hello struct{ Resumed any }
		if err := json.Unmarshal(data, &hello); err != nil || hello.Resumed != (v.last != "") {
			v.t.Errorf("%s, from %q: hello %s", v.name, v.last, data)
		}
	}
	if id == "" {
		return
	}
	if v.last = id; v.start == "" {
		v.start = id
	}
	if event == "torture.happened" || event == "soak.pulsed" || event == endOfSoak {
		v.give(id)
		v.ended = event == endOfSoak
	}
}

// give takes note of an event, by the number that its position begins with.
func (v *visitor) give(id string) {
	text, _, _ := bytes.Cut([]byte(id), []byte("."))
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		v.t.Errorf("%s: the id %q: %v", v.name, id, err)
	}
	v.given = append(v.given, n)
	v.soak.given.Add(1)
}

// poll polls again and again.
func (v *visitor) poll(ctx context.Context) error {
	for !v.ended {
		query := url.Values{"wait": {"5s"}, "limit": {"100"}}
		if v.start == "" {
			// The first answer tells where this begins.
			query.Set("wait", "0")
		}
		response, err := v.request(ctx, query)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		var answer struct {
			Events   []struct{ ID, Type string }
			Position string
			Gap      any
		}
		if err := json.Unmarshal(body, &answer); err != nil || answer.Gap != nil {
			v.t.Errorf("%s, from %q: %.500s", v.name, v.last, body)
			return errors.New("no good answer")
		}
		v.polls.Add(1)
		v.last = answer.Position
		for _, e := range answer.Events {
			v.ended = v.ended || e.Type == endOfSoak
		}
		if v.start == "" {
			v.start = v.last // after the events that came while it was answered
			continue
		}
		for _, e := range answer.Events {
			v.give(e.ID)
		}
	}
	return nil
}

// judge compares the events that visitors received with the ledger, some time after
// they have left: events that they have seen may not have been confirmed yet.
func (s *soak) judge() {
	var keys *position.Keys
	for v := range s.judged {
		if !s.closing.Load() {
			pause(context.Background(), time.Until(v.left.Add(10*time.Second)))
		}
		s.ended.Add(1)
		if v.start == "" {
			continue // it never got to a hello
		}
		if keys == nil {
			keys = keysOf(s.t, s.url)
		}
		from, err := keys.Open(v.start)
		to, err2 := keys.Open(v.last)
		if err := errors.Join(err, err2); err != nil {
			s.t.Errorf("%s: %v", v.name, err)
			continue
		}
		slices.Sort(v.given)
		// A node may have been behind when it began.
		lost, repeated, extra := compare(owed(s.ledger.since(v.began.Add(-time.Minute)), v.filter, from, to), v.given)
		s.lost.Add(int64(len(lost)))
		s.repeated.Add(int64(len(repeated)))
		if len(lost)+len(repeated)+len(extra) > 0 {
			s.t.Errorf("%s, %q, from %s to %s: lost %d, twice %d, not owed %d", v.name, v.filter.Topics, v.start, v.last, lost, repeated, extra)
		}
	}
}
