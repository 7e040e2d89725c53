package sse

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/hub"
)

// countedPast counts how often the table is asked.
type countedPast struct {
	hub.Past
	asked int
}

func (c *countedPast) Oldest(ctx context.Context) (time.Time, error) {
	c.asked++
	return c.Past.Oldest(ctx)
}

// A client that makes positions up costs no query.
func TestStart_MalformedPositionsCostNoQuery(t *testing.T) {
	past := &countedPast{Past: &table{events: []outbox.Event{{ID: 1, XID: 1, Topic: "a", CreatedAt: epoch}}}}
	s := NewStreamer(newHub(&hub.Buffer{Past: past}), nil)
	w := after(outbox.Event{ID: 1, XID: 1})
	s.Hub.Start(w)
	for range 1000 {
		made := position.NewKeys().Seal(w)
		given, gap, err := s.resolveStart(t.Context(), Request{From: From{Position: made}}, w)
		if err != nil || gap == nil || gap.Reason != position.Malformed || !gap.Since.Equal(epoch) || !given.Equal(w) {
			t.Fatalf("%s, %+v, %v", given, gap, err)
		}
	}
	if past.asked != 1 {
		t.Errorf("the table was asked %d times", past.asked)
	}
	// A position that the table could not check is asked about again.
	s = NewStreamer(newHub(&hub.Buffer{Past: &table{err: errors.New("gone")}}), nil)
	if _, _, err := s.resolveStart(t.Context(), Request{From: From{Position: "x"}}, w); err == nil {
		t.Error("the table is gone, and it has an answer")
	}
}
