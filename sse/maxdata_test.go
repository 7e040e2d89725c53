package sse

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// A client with a bounded buffer gets a reference in place of data that is too large
// for it, live, from memory, from the table, in batches and by polls; smaller events
// are unchanged.
func TestStream_RefersToWhatIsTooLarge(t *testing.T) {
	const most = 2000
	inBubble(t, func(t *testing.T, s *server) {
		request := Request{MaxData: most, From: From{Position: sealed(s.at)}}
		live, batches := s.open(t, request), s.open(t, Request{MaxData: most, Batch: window})
		events := s.store("a", 4)
		sizes := []int{10, 1700, 2100, 50_000}
		for i, size := range sizes {
			events[i].Payload = json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
		}
		events[3].Headers = map[string]string{"dataref": "mine"}
		copy(s.past.events, events)
		s.tail(events...)
		time.Sleep(2 * window)
		var all []string
		for name, c := range map[string]*client{"live": live, "replayed": s.open(t, request), "batch": batches} {
			var got []json.RawMessage
			for _, e := range c.all() {
				switch e.Type {
				case "test.added":
					if got = append(got, json.RawMessage(e.Data)); len(e.Data) > most {
						t.Errorf("%s: an event of %d bytes", name, len(e.Data))
					}
				case "outcrier.batch":
					var batch []json.RawMessage
					if err := json.Unmarshal([]byte(e.Data), &batch); err != nil {
						t.Error(err)
					}
					got = append(got, batch...)
				}
			}
			all = append(all, references(t, got))
		}
		answer, err := s.Poll(context.Background(), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: request.From, MaxData: most}, 10, 0)
		if err != nil {
			t.Error(err)
		}
		all = append(all, references(t, answer.Events))
		for _, got := range all {
			if want := "1 12, 2 1702, 3 events/3, 4 events/4"; got != want {
				t.Errorf("given are %s, want %s", got, want)
			}
		}
		if got := s.open(t, Request{From: request.From}).all(); !slices.ContainsFunc(ids(got), func(id string) bool { return id == "4" }) || !strings.Contains(got[4].Data, `"dataref":"mine"`) || len(got[4].Data) < 50_000 {
			t.Errorf("without a limit comes %.200s", got[4].Data)
		}
	})
}

// references are each event's id, with the length of its data or its reference.
func references(t *testing.T, events []json.RawMessage) string {
	t.Helper()
	var list []string
	for _, event := range events {
		var envelope struct {
			ID, Dataref string
			Data        json.RawMessage
		}
		if err := json.Unmarshal(event, &envelope); err != nil {
			t.Error(err)
		}
		if (envelope.Data == nil) == (envelope.Dataref == "") {
			t.Errorf("%.300s has both or neither", event)
		}
		what := envelope.Dataref
		if envelope.Data != nil {
			what = fmt.Sprint(len(envelope.Data))
		}
		list = append(list, envelope.ID+" "+what)
	}
	return strings.Join(list, ", ")
}
