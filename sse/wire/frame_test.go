package wire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// asRead is JSON on one line, whatever a reader takes for the end of one.
func asRead(text []byte) string {
	return strings.NewReplacer("\r", " ", "\n", " ", "\u2028", `\u2028`, "\u2029", `\u2029`, "\u0085", `\u0085`).Replace(string(text))
}

// checkFrame encodes the event in every format and reads it back.
func checkFrame(t interface {
	Helper()
	Errorf(string, ...any)
}, e outbox.Event) {
	t.Helper()
	position := position.Position{EventID: e.ID, Given: position.Set{Max: e.XID}, Anchor: position.Anchor{XID: e.XID}}
	for format := range Format(places) {
		stream := appendEnd([]byte("data: before\n"), testKeys, position)
		frame := appendEnd(appendHead(nil, &e, format), testKeys, position)
		stream = append(stream, frame...)
		stream = append(stream, "data: behind\n\n"...)
		var fields []string
		for line := range strings.Lines(string(frame)) {
			field, _, _ := strings.Cut(line, ":")
			fields = append(fields, strings.TrimSpace(field))
		}
		if want := map[bool][]string{true: {"data", "id", ""}, false: {"event", "data", "id", ""}}[format&Unnamed != 0]; !slices.Equal(fields, want) {
			t.Errorf("format %d: the fields are %q, want %q", format, fields, want)
		}
		events, p := ssetest.Parse(stream)
		if len(events) != 3 || len(p.Strange)+len(p.Comments) > 0 || p.Retry != 0 || p.LastID != sealed(position) {
			t.Errorf("format %d: it is read as %q, strange %q, comments %q, retry %v, last id %q", format, events, p.Strange, p.Comments, p.Retry, p.LastID)
			return
		}
		data := []byte(e.Payload)
		if format&Payload == 0 {
			data = appendEnvelope(nil, &e, format&reference != 0)
		}
		want := ssetest.Event{ID: sealed(position), Type: e.Type, Data: asRead(data)}
		if format&Unnamed != 0 {
			want.Type = "message"
		}
		if diff := cmp.Diff(want, events[1]); diff != "" {
			t.Errorf("format %d (-written +read):\n%s", format, diff)
		}
	}
}

// checkEnvelope checks that the envelope is JSON, with the event's attributes and
// the payload's bytes.
func checkEnvelope(t interface {
	Helper()
	Errorf(string, ...any)
}, e outbox.Event) map[string]any {
	t.Helper()
	envelope := appendEnvelope(nil, &e, false)
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(envelope))
	decoder.UseNumber() // a payload may have any
	if err := decoder.Decode(&fields); err != nil || decoder.More() {
		t.Errorf("%s: %v", envelope, err)
		return nil
	}
	for name, want := range map[string]any{
		"specversion": "1.0", "id": strconv.FormatInt(e.ID, 10), "source": e.Source, "type": e.Type, "topic": e.Topic, "datacontenttype": "application/json",
	} {
		if fields[name] != want {
			t.Errorf("%s is %q, want %q", name, fields[name], want)
		}
	}
	if !bytes.HasSuffix(envelope, append(append([]byte(`,"data":`), e.Payload...), '}')) {
		t.Errorf("payload %q is not in %q", e.Payload, envelope)
	}
	return fields
}

// payloads is JSON with white space of every kind within and around.
var payloads = rapid.Custom(func(t *rapid.T) json.RawMessage {
	space := rapid.StringMatching(`[ \t\r\n]{0,4}`)
	value := rapid.SampledFrom([]string{"{}", "[]", "null", "1.0", "1e400", `"\r\n"`, `"` + "\u2028é" + `"`, `"data: x"`, `"id:\u0000"`}).Draw(t, "value")
	text := space.Draw(t, "before")
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		text += value
	case 1:
		text += "[" + space.Draw(t, "in") + value + space.Draw(t, "in") + "," + space.Draw(t, "in") + value + "]"
	default:
		text += "{" + space.Draw(t, "in") + `"retry"` + space.Draw(t, "in") + ":" + space.Draw(t, "in") + value + "}"
	}
	return json.RawMessage(text + space.Draw(t, "behind"))
})

// texts are what topics, types and sources may hold.
var texts = rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) && r != utf8.RuneError }), 1, 20, 255)

func TestFrame_IsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := outbox.Event{
			ID: rapid.Int64Range(1, 1<<62).Draw(t, "id"), XID: rapid.Uint64Range(3, 1<<62).Draw(t, "xid"), CreatedAt: epoch,
			Topic: texts.Draw(t, "topic"), Type: texts.Draw(t, "type"), Source: texts.Draw(t, "source"), Payload: payloads.Draw(t, "payload"),
			Headers: rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "headers"),
		}
		checkFrame(t, e)
		checkEnvelope(t, e)
	})
}

func FuzzFrame(f *testing.F) {
	for _, payload := range []string{"{}", "[1,\r2]", "\r\n[\n]\r", `"data: x\nid: 7"`, "[\n\n]", "\n\n1\n\n"} {
		f.Add("user/42", "audit.approved", payload, "traceparent", "00-1")
	}
	f.Fuzz(func(t *testing.T, topic, kind, payload, name, value string) {
		allowed := func(s string) bool {
			return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
		}
		if !allowed(topic) || !allowed(kind) || !json.Valid([]byte(payload)) || !utf8.ValidString(payload+name+value) {
			return // Postgres has refused it
		}
		e := outbox.Event{ID: 7, XID: 9, Topic: topic, Type: kind, Source: "/", Payload: json.RawMessage(payload), CreatedAt: epoch, Headers: map[string]string{name: value}}
		checkFrame(t, e)
		checkEnvelope(t, e)
	})
}

func TestEnvelope_HasHeadersAsExtensions(t *testing.T) {
	e := outbox.Event{ID: 1, XID: 3, Topic: "a", Type: "t", Source: "/", Payload: json.RawMessage("1"), CreatedAt: epoch, Headers: map[string]string{
		"traceparent": "00-é", "Correlation-ID": "\"c\"\n", "correlation_id": "second", "ID": "forged", "data": "forged", "Spec-Version": "2",
		"--": "nothing", "": "nothing", "é": "nothing", "subject": "s",
	}}
	fields := checkEnvelope(t, e)
	for name, want := range map[string]any{"traceparent": "00-é", "correlationid": "\"c\"\n", "data": json.Number("1")} {
		if fields[name] != want {
			t.Errorf("%s is %v, want %v", name, fields[name], want)
		}
	}
	for name := range fields {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("attribute %q is not a name of CloudEvents", name)
		}
	}
	if n := bytes.Count(appendEnvelope(nil, &e, false), []byte(`"correlationid"`)); n != 1 {
		t.Errorf("correlationid is there %d times", n)
	}
}

// A frame that was encoded under a key that is used no more is encoded again: else a quiet
// topic would give ids, from memory, that are not taken when they come back.
func TestFrame_IsSealedWithTheKeyThatIsUsed(t *testing.T) {
	e := outbox.Event{ID: 7, XID: 7, Topic: "a", Type: "t", Payload: []byte("{}"), CreatedAt: epoch}
	keys := position.NewKeys()
	read := &Read{To: after(e), Keys: keys}
	f := &Frame{Event: &e, Read: read, Last: true}
	first, gzip := f.in(0), f.in(Gzip)
	if f.in(0) != first || f.in(Gzip) != gzip {
		t.Error("it is encoded again without cause")
	}
	read.Keys = position.NewKeys()
	second := f.in(0)
	if string(second.wire) == string(first.wire) || len(second.wire) != len(first.wire) || f.in(Gzip) == gzip {
		t.Errorf("under a new key it is %q", second.wire)
	}
}
