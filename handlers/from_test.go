package handlers_test

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestEvents_StartAtTheLaterOfTwoPositions has readers that remember a position, and whose
// page was rendered from another.
func TestEvents_StartAtTheLaterOfTwoPositions(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	before := n.position(t)
	first := n.add(t, "a")
	between := n.position(t)
	second := n.add(t, "a")
	n.seen(t, 2)
	remembered := n.poll(t, "topic=a&wait=0&limit=1&after="+q(before)).Position
	for name, test := range map[string]struct {
		query string
		want  []string
	}{
		"a snapshot that is later":             {"last_event_id=" + q(before) + "&from=" + q(between), []string{second}},
		"a snapshot that is earlier":           {"last_event_id=" + q(between) + "&from=" + q(before), []string{second}},
		"a snapshot later than the last event": {"last_event_id=" + q(remembered) + "&from=" + q(n.position(t)), nil},
		"a snapshot earlier than it":           {"last_event_id=" + q(remembered) + "&from=" + q(before), []string{second}},
		"the same of polls":                    {"after=" + q(before) + "&from=" + q(between), []string{second}},
		"a start that is no position":          {"last_event_id=" + q(before) + "&from=now", []string{first, second}},
		"a snapshot that is malformed":         {"last_event_id=" + q(before) + "&from=1.nonsense", []string{first, second}},
	} {
		t.Run(name, func(t *testing.T) {
			p := n.poll(t, "topic=a&wait=0&"+test.query)
			got := p.ids()
			if !slices.Equal(got, test.want) || p.Gap != nil {
				t.Errorf("it gives %v, gap %v, want %v", got, p.Gap, test.want)
			}
		})
	}
	// A gap is reported, whatever the snapshot.
	if p := n.poll(t, "topic=a&wait=0&last_event_id=nonsense&from="+q(between)); p.Gap == nil || p.Gap.Reason != "malformed" {
		t.Errorf("the gap is %v", p.Gap)
	}
}

// A last id that comes several times is one only if all are the same: which of different ones is the
// reader's is not known, and the later one would lose events.
func TestEvents_SeveralLastEventIDs(t *testing.T) {
	n := newNode(t, nil)
	before := n.position(t)
	first := n.add(t, "a")
	n.seen(t, 1)
	after := n.position(t)
	for name, test := range map[string]struct {
		lines  []string
		events []string
		gap    string
	}{
		"twice the same":          {[]string{before, before}, []string{first}, ""},
		"joined by a proxy":       {[]string{before + ", " + before}, []string{first}, ""},
		"an empty one first":      {[]string{"", before}, []string{first}, ""},
		"empty ones alone":        {[]string{"", ""}, nil, ""},
		"the later one first":     {[]string{after, before}, nil, "malformed"},
		"the earlier one first":   {[]string{before, after}, nil, "malformed"},
		"different ones, joined":  {[]string{after + "," + before}, nil, "malformed"},
		"a comma behind it":       {[]string{before + ","}, nil, "malformed"},
		"a comma alone":           {[]string{","}, nil, "malformed"},
		"one that is no position": {[]string{before, "nonsense"}, nil, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			request := "GET /events?topic=a&wait=0"
			lines := []string{acceptJSON}
			for i, line := range test.lines {
				lines = append(lines, []string{"Last-Event-ID: ", "LAST-EVENT-ID: "}[i%2]+line)
			}
			a, _ := n.send(t, n.ask(request, lines...))
			var p poll
			if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 200 {
				t.Fatalf("%d %s: %v", a.status, a.body, err)
			}
			gap := ""
			if p.Gap != nil {
				gap = p.Gap.Reason
			}
			if !slices.Equal(p.ids(), test.events) || gap != test.gap {
				t.Errorf("it gives %v and the gap %q, want %v and %q", p.ids(), gap, test.events, test.gap)
			}
		})
	}
}

// A time whose "+" was not encoded comes with a blank.
func TestEvents_FromATimeWithABarePlus(t *testing.T) {
	n := newNode(t, nil)
	id := n.add(t, "a")
	n.seen(t, 1)
	for text, want := range map[string][]string{"2026-11-22T02:00:00+05:30": {id}, "2026-11-22T02:00:00%2B05:30": {id}, "2999-11-22T02:00:00+05:30": nil} {
		if got := n.poll(t, "topic=a&wait=0&from="+text).ids(); !slices.Equal(got, want) {
			t.Errorf("%s gives %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"2026-11-22+02:00:00Z", "2026-11-22T02:00:00++05:30", "2026-11-22T02:00:00+"} {
		do(t, "GET", n.events("topic=a&wait=0&from="+text), "", "Accept", "application/json").wantProblem(t, 400, "RFC 3339")
	}
}

// A time after which there are more events than a node reads to find where they begin is answered
// like any other: page by page, each event once, and then what commits late, but nothing older.
func TestPoll_FromATimeBeforeManyEvents(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	exec := func(q interface {
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	}, sql string) {
		t.Helper()
		if _, err := q.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(n.pool, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'a', 't', clock_timestamp() - interval '3 hours' FROM generate_series(1, 5)`)
	late, err := n.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec(late, `SELECT pg_current_xact_id()`)
	exec(n.pool, `INSERT INTO outcrier.event (topic, type) SELECT 'noise', 't' FROM generate_series(1, 51000)`)
	exec(late, `SELECT outcrier.append('a', 'late')`)
	var want, got []string
	for range 7 {
		want = append(want, n.add(t, "a"))
	}
	n.seen(t, 5+51000+7) // what the tail has yet to read is new to everyone, however old it says it is
	from := "1h"
	poll := func(query string) (ids []string) {
		t.Helper()
		var p struct {
			Events   []struct{ ID, Type string }
			Position string
		}
		a := do(t, "GET", n.events("topic=a&limit=3&from="+url.QueryEscape(from)+query), "", "Accept", "application/json")
		if a.status != 200 || json.Unmarshal([]byte(a.body), &p) != nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
		from = p.Position
		for _, e := range p.Events {
			if e.Type == "late" {
				e.ID = "late"
			}
			ids = append(ids, e.ID)
		}
		return ids
	}
	for len(got) < len(want) {
		got = append(got, poll("&wait=10s")...)
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = append(got, poll("&wait=10s")...)
	if want = append(want, "late"); !slices.Equal(got, want) || len(poll("&wait=0")) > 0 {
		t.Errorf("it gives %v, want %v", got, want)
	}
}
