package handlers

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/outcrier/outcrier/outbox"
)

// A body that is taken gives a draft for each of its elements, with payloads byte for
// byte, which another parser of JSON reads in the same way; encoded again in our own
// form, it gives the same drafts.
func FuzzDrafts(f *testing.F) {
	for _, body := range []string{
		`{"topic":"a","type":"t","payload":{"n":1e999, "s":"\u0000"},"headers":{"x":"y"},"deliver_at":"2026-11-22T02:00:00Z"}`,
		`[{"topic":"a","type":"t"},{"specversion":"1.0","topic":"b","type":"t","source":"/s","id":"1","data":[1,2],"ext":"x"}]`,
		`{"specversion":"1.0","topic":"a","type":"t","source":"/s","time":"x","datacontenttype":"application/json","data":null}`,
		`{"topic":"a","topic":"b","Topic":"c","type":"t"}`, `[[]]`, `[]`, `null`, ` [ null ] `, `{"specversion":1}`, `{"specversion":"1.0","SPECVERSION":"2"}`,
		`{"topic":"a","type":"t","dedup_key":"k"} x`, `{"topic":"a","type":"t","payload":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`,
	} {
		f.Add([]byte(body), "")
		f.Add([]byte(body), "key")
	}
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		if !utf8.Valid(body) {
			return // refused before
		}
		drafts, err := parseDrafts(body, key)
		if err != nil {
			if says := err.Error(); says == "" || len(drafts) > 0 {
				t.Fatalf("refused with %q, %d drafts", says, len(drafts))
			}
			return
		}
		if !json.Valid(body) {
			t.Fatal("taken, and not JSON")
		}
		var elements []json.RawMessage
		array := bytes.TrimSpace(body)[0] == '['
		if !array {
			elements = []json.RawMessage{bytes.TrimSpace(body)}
		} else if err := json.Unmarshal(body, &elements); err != nil {
			t.Fatal(err)
		}
		if len(drafts) != len(elements) || len(drafts) == 0 || len(drafts) > maxDrafts {
			t.Fatalf("%d drafts of %d elements", len(drafts), len(elements))
		}
		for i, draft := range drafts {
			switch {
			case key != "" && !array && draft.DedupKey != key, key != "" && array && draft.DedupKey != key+"/"+strconv.Itoa(i):
				t.Fatalf("the key of %d is %q", i, draft.DedupKey)
			}
			if draft.Payload != nil {
				payload, ok := draft.Payload.(json.RawMessage)
				if !ok || !json.Valid(payload) || !bytes.Contains(elements[i], payload) {
					t.Fatalf("payload %q of %q", draft.Payload, elements[i])
				}
			}
			draft.DedupKey = ""
			roundTrip(t, draft)
		}
	})
}

func roundTrip(t *testing.T, draft outbox.Draft) {
	t.Helper()
	own := map[string]any{"topic": draft.Topic, "type": draft.Type, "source": draft.Source, "headers": draft.Headers, "deliver_at": draft.DeliverAt}
	body, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	if draft.Payload != nil {
		// Marshalling would rewrite it.
		body = append(append(append(body[:len(body)-1], `,"payload":`...), draft.Payload.(json.RawMessage)...), '}')
	}
	again, err := parseDraft(body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if !again.DeliverAt.Equal(draft.DeliverAt) {
		t.Fatalf("due %s, then %s", draft.DeliverAt, again.DeliverAt)
	}
	again.DeliverAt = draft.DeliverAt
	if !reflect.DeepEqual(again, draft) {
		t.Fatalf("%+v, then %+v", draft, again)
	}
}
