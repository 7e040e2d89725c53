package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Stage is a server with clients around it, for scenes to be played on.
type Stage struct {
	// Stream is the URL of a stream that brings what Append appends, from now on.
	Stream *url.URL
	// Append appends an event whose payload is the JSON text.
	Append func(ctx context.Context, payload string) error
	// Crash, when not nil, kills the server that clients are at. It returns when they can
	// come back, there or, when it has called to before, elsewhere. Without it the
	// connections are closed as a crash closes them.
	Crash func(ctx context.Context, to func(server *url.URL)) error
	// Drain, when not nil, has the server that clients are at stop in order, likewise.
	// The scene is not played without it.
	Drain func(ctx context.Context, to func(server *url.URL)) error
	// Patience is how long a client may take to come back, by default 20 s.
	Patience time.Duration
	// Pause is the time between two events while there is load, by default 10 ms.
	Pause time.Duration
	// Quiet is how long the scene of that name is, by default 3 s.
	Quiet time.Duration
	// Few has each scene repeat its fault a few times only, but at each place of an event: enough to
	// find a server that is wrong always, and not one that is wrong now and then.
	Few bool
	Log func(format string, args ...any)

	clients  []*Client
	networks []*network // of each client its own

	mu       sync.Mutex
	appended int
	payloads map[int]string // of those that are more than a number
	missed   map[string]int // by client, in this scene
}

// Verdict is the result of one scene for one client.
type Verdict struct {
	Client, Scene string
	// Of is how many events the scene had, Lost and Twice how many of them the client did
	// not receive or received more than once, Disordered how many came after a later one,
	// Altered how many differ from the appended ones.
	Of, Lost, Twice, Disordered, Altered int
	// Missed is how often what the scene does did not reach the client in time.
	Missed int
	// Ended is why the client does not run any more, and Stuck whether it runs and
	// doesn't come back.
	Ended string
	Stuck bool
}

// OK reports whether the client received every event once, in order, and still runs.
func (v Verdict) OK() bool {
	return v.Lost+v.Twice+v.Disordered+v.Altered+v.Missed == 0 && v.Ended == "" && !v.Stuck
}

// String is the verdict in a few words, "ok" when it is.
func (v Verdict) String() string {
	if v.OK() {
		return "ok"
	}
	var text string
	add := func(n int, what string) {
		if n > 0 {
			text += fmt.Sprintf(", %d %s", n, what)
		}
	}
	switch {
	case v.Ended != "":
		text += ", dead"
	case v.Stuck:
		text += ", stuck"
	}
	if v.Ended == "" && !v.Stuck || v.Lost < v.Of {
		add(v.Lost, "lost")
	}
	add(v.Twice, "twice")
	add(v.Disordered, "out of order")
	add(v.Altered, "altered")
	add(v.Missed, "missed")
	return text[2:] + fmt.Sprintf(" of %d", v.Of)
}

// Play plays scenes to the clients, one after another to all of them at once, and returns a
// verdict for each client and scene. A client that is dead or stuck after a scene is
// restarted for the next one.
func (s *Stage) Play(ctx context.Context, clients []*Client, scenes []Scene) ([]Verdict, error) {
	s.Patience, s.Pause, s.Quiet = cmp.Or(s.Patience, 20*time.Second), cmp.Or(s.Pause, 10*time.Millisecond), cmp.Or(s.Quiet, 3*time.Second)
	if s.Log == nil {
		s.Log = func(string, ...any) {}
	}
	s.clients, s.networks, s.payloads = clients, nil, map[int]string{}
	defer func() {
		for _, c := range clients {
			c.Stop()
		}
	}()
	for range clients {
		n, err := newNetwork(&url.URL{Scheme: s.Stream.Scheme, Host: s.Stream.Host})
		if err != nil {
			return nil, err
		}
		defer n.close()
		s.networks = append(s.networks, n)
	}
	var verdicts []Verdict
	for _, scene := range scenes {
		if scene.needs != nil && !scene.needs(s) {
			continue
		}
		began := time.Now()
		if err := s.gather(ctx); err != nil {
			return verdicts, fmt.Errorf("before the scene %q: %w", scene.Name, err)
		}
		s.missed = map[string]int{}
		from := s.count() + 1
		if err := scene.play(ctx, s); err != nil {
			return verdicts, fmt.Errorf("the scene %q: %w", scene.Name, err)
		}
		// The last event of the scene, which all wait for.
		if err := s.append(ctx, nil); err != nil {
			return verdicts, err
		}
		to := s.count()
		s.await(ctx, to)
		for _, c := range clients {
			verdicts = append(verdicts, s.verdict(c, scene, from, to))
		}
		s.Log("%s: %d events in %v", scene.Name, to-from+1, time.Since(began).Round(100*time.Millisecond))
	}
	return verdicts, nil
}

// gather starts the clients that don't run or are stuck, and waits until each has received
// an event. One that ends before that has no part in the scene.
func (s *Stage) gather(ctx context.Context) error {
	reached := s.count()
	var late []*Client
	for i, c := range s.clients {
		if running, _ := c.state(); running && c.last() >= reached {
			continue
		}
		c.Stop()
		front := *s.Stream
		front.Scheme, front.Host = "http", s.networks[i].address
		if c.Socket {
			query := front.Query()
			query.Del("names") // of SSE alone
			front.Scheme, front.RawQuery = "ws", query.Encode()
		}
		if err := c.Start(ctx, front.String()); err != nil {
			return err
		}
		late = append(late, c)
	}
	for end := time.Now().Add(2 * s.Patience); len(late) > 0 && time.Now().Before(end); pause(ctx, 250*time.Millisecond) {
		if err := s.append(ctx, nil); err != nil {
			return err
		}
		late = slices.DeleteFunc(late, func(c *Client) bool {
			running, _ := c.state()
			return !running || c.last() > reached
		})
	}
	s.await(ctx, s.count())
	return ctx.Err()
}

// await waits until each running client has received an event of at least that number, and
// returns how many have not.
func (s *Stage) await(ctx context.Context, n int) int {
	late := slices.Clone(s.clients)
	for end := time.Now().Add(s.Patience); ; pause(ctx, 20*time.Millisecond) {
		late = slices.DeleteFunc(late, func(c *Client) bool {
			running, _ := c.state()
			return !running || c.last() >= n
		})
		if len(late) == 0 || ctx.Err() != nil || time.Now().After(end) {
			return len(late)
		}
	}
}

// verdict compares the events that a client received with the appended ones.
func (s *Stage) verdict(c *Client, scene Scene, from, to int) Verdict {
	v := Verdict{Client: c.Name, Scene: scene.Name, Of: to - from + 1, Missed: s.missed[c.Name]}
	seen := map[int]int{}
	highest := 0
	for _, e := range c.between(from, to) {
		if seen[e.n]++; seen[e.n] > 1 {
			v.Twice++
			continue
		}
		if e.n < highest {
			v.Disordered++
		}
		highest = max(highest, e.n)
		s.mu.Lock()
		payload, odd := s.payloads[e.n]
		s.mu.Unlock()
		if odd && !holds(e.data, payload) {
			v.Altered++
		}
	}
	v.Lost = v.Of - len(seen)
	running, why := c.state()
	switch {
	case !running:
		v.Ended = why
	case highest < to:
		v.Stuck = true
	}
	if !v.OK() {
		s.Log("%s, %s: %s (%s)", scene.Name, c.Name, v, why)
	}
	return v
}

func (s *Stage) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appended
}

// append appends the next event; payload makes its JSON of the number.
func (s *Stage) append(ctx context.Context, payload func(n int) string) error {
	s.mu.Lock()
	n := s.appended + 1
	s.mu.Unlock()
	text := fmt.Sprintf(`{"conformance":%d,"text":"as long as events are that say what has happened, and to whom"}`, n)
	if payload != nil {
		text = payload(n)
		s.mu.Lock()
		s.payloads[n] = text
		s.mu.Unlock()
	}
	if err := s.Append(ctx, text); err != nil {
		return fmt.Errorf("append event %d: %w", n, err)
	}
	s.mu.Lock()
	s.appended = n
	s.mu.Unlock()
	return nil
}

// underLoad appends events all the time while fn runs.
func (s *Stage) underLoad(ctx context.Context, fn func(ctx context.Context) error) error {
	writer, stop := context.WithCancel(ctx)
	wrong := make(chan error, 1)
	go func() {
		var err error
		for err == nil && writer.Err() == nil {
			err = s.append(ctx, nil)
			pause(writer, s.Pause)
		}
		wrong <- err
	}()
	err := fn(ctx)
	stop()
	return errors.Join(err, <-wrong)
}

// each does something to the network of each client.
func (s *Stage) each(do func(n *network)) {
	for _, n := range s.networks {
		do(n)
	}
}

// to has all clients come back to a server.
func (s *Stage) to(server *url.URL) { s.each(func(n *network) { n.to(server) }) }

// until waits until something is true of the network of each client that runs.
func (s *Stage) until(ctx context.Context, what string, is func(n *network) bool) {
	for end := time.Now().Add(s.Patience); ; pause(ctx, 20*time.Millisecond) {
		var late []string
		for i, n := range s.networks {
			if running, _ := s.clients[i].state(); running && !is(n) {
				late = append(late, s.clients[i].Name)
			}
		}
		if len(late) == 0 || ctx.Err() != nil {
			return
		}
		if time.Now().After(end) {
			s.Log("not within %v: %s: %q", s.Patience, what, late)
			for _, name := range late {
				s.missed[name]++
			}
			return
		}
	}
}

// news waits, under load, until each client has received something new.
func (s *Stage) news(ctx context.Context) { s.await(ctx, s.count()+1) }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// holds reports whether the data is the payload, or has it somewhere inside.
func holds(data, payload string) bool {
	if data == payload { // to parse a megabyte for each client takes longer than all else
		return true
	}
	var d, p any
	if json.Unmarshal([]byte(data), &d) != nil || json.Unmarshal([]byte(payload), &p) != nil {
		return false
	}
	want, _ := json.Marshal(p)
	var within func(any) bool
	within = func(v any) bool {
		if got, _ := json.Marshal(v); string(got) == string(want) {
			return true
		}
		switch v := v.(type) {
		case map[string]any:
			for _, member := range v {
				if within(member) {
					return true
				}
			}
		case []any:
			for _, member := range v {
				if within(member) {
					return true
				}
			}
		}
		return false
	}
	return within(d)
}
