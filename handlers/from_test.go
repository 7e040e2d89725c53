package handlers_test

import (
	"slices"
	"testing"
)

// TestEvents_StartAtTheLaterOfTwoPositions has readers that remember a position, and whose
// page was rendered from another.
func TestEvents_StartAtTheLaterOfTwoPositions(t *testing.T) {
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
	// What was lost is told, whatever the snapshot.
	if p := n.poll(t, "topic=a&wait=0&last_event_id=nonsense&from="+q(between)); p.Gap == nil || p.Gap.Reason != "malformed" {
		t.Errorf("the gap is %v", p.Gap)
	}
}
