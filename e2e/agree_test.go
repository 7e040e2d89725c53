package e2e

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// topics that a URL and a line of a stream could be stumbled over.
var topics = []string{
	"agree/plain", "agree/日本 語/🎈", "agree/ space around ", "agree/a+b&c=d?e#f%20g;h", "agree/\"'<>\\", "agree/e\u0301\u200f\u05d0\u2028\ufeff",
}

var types = []string{
	"audit.approved", "message", "open", "error", "toString", "__proto__", "*",
	" leading space", "  two", "trailing ", " ", "a: colon", ": comment", "data: forged", "id", "\"quoted\\",
	"тип.ünï🎈", "e\u0301\u200f\u05d0", "\ufeffbom", "\u00a0", strings.Repeat("x", 255),
}

// payloads returns JSON that a server or a client might take apart, change or
// put together wrongly.
func payloads() []string {
	list := []string{
		`{}`, `[]`, `""`, `null`, `true`, `{"b":1,"a":2,"b":3}`,
		`0`, `-0`, `1.0`, `1.10`, `1e400`, `-1E+2`, `123456789012345678901234567890`, `0.1000000000000000055511151231257827`,
		"  {\"two\" :  \"spaces\"}  ", "\t1\t",
		"\":\"", "{\"a\"\n: 1,\r\"b\"\r\n:2}", "[\n\"data: x\",\r\"id: 3\",\r\n\"event: y\"]", `"\n\nid: 9\ndata: forged\n\n"`,
		"\"😀 👩\u200d👩\u200d👧 🇳🇴\"", "\"שלום \u200fمرحبا\u200e abc\"", "\"e\u0301 \u1100\u1161\"", "\"\u2028\u2029\u0085\"", "\"in\ufeffside\"", "\"\ufeff\"", "\"\ufffd\ufffe\uffff\U0010ffff\"",
		`"\ud800"`, `"\udc00\ud800 \ud83d"`, `"\ud83d\ude00"`, `"\u0000\u0001\u001f\u007f\u0080\u2028"`, `"\b\f\n\r\t\/\\\""`,
		"\"\x7f\u0080\u009f\"", `"</script><!-- &amp; ' -->"`, strings.Repeat("[", 64) + strings.Repeat("]", 64),
		`"` + strings.Repeat("x", 1<<20-2) + `"`, // the most that is allowed
		"[" + strings.Repeat("\r", 1<<15) + "]",  // many lines
	}
	for _, end := range []string{"\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", "\r\n\n", "\r\r\n", "\n \n"} {
		list = append(list, end+`1`, `2`+end, end+end+"["+end+`"a",`+end+"  3"+end+"]"+end+end)
	}
	return list
}

// TestForeignClients_AgreeEventForEvent has the same streams read by three
// clients that others wrote, each from the table at first and then live, and
// compares them with each other and with the database.
func TestForeignClients_AgreeEventForEvent(t *testing.T) {
	t.Parallel()
	t.Run("as it is", func(t *testing.T) { agree(t) })
	t.Run("compressed", func(t *testing.T) { agree(t, "--gzip") })
}

func agree(t *testing.T, args ...string) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, append(args, "--database-url", database)...)
	tab := newTab(t)
	eventSource := installEventSource(t)
	do(t, tab, chromedp.Navigate(s.base+"/p/nobody")) // a page without streams of its own

	db := connect(t, database)
	appendAll := func(marker string) {
		for i, kind := range types {
			insert(t, db, topics[i%len(topics)], kind, "{}")
		}
		for i, payload := range payloads() {
			insert(t, db, topics[i%len(topics)], types[0], payload)
		}
		insert(t, db, topics[0], types[0], strconv.Quote(marker))
	}
	appendAll("the end of what is replayed")
	pattern := []string{"agree/**"}
	streams := []url.Values{
		{"topic": pattern},
		{"topic": topics, "format": {"payload"}},
		{"topic": topics, "format": {"cloudevents"}, "names": {"message"}},
		{"topic": pattern, "format": {"payload"}, "names": {"message"}},
	}
	var urls []string
	for _, query := range streams {
		query.Set("from", "earliest")
		urls = append(urls, s.base+"/events?"+query.Encode())
	}
	readGoSSE(t, urls[:1])("the end of what is replayed") // the tail has read it

	listen := slices.Concat(types, []string{"outcrier.hello", "outcrier.live", "outcrier.goodbye"})
	clients := map[string]func(marker string) [][]event{
		"go-sse":   readGoSSE(t, urls),
		"Chromium": readChromium(t, tab, urls, listen),
		"node":     readNode(t, eventSource, urls, listen),
	}
	for _, await := range clients {
		await("outcrier.live")
	}
	split := len(rows(t, database, "agree/%"))
	const last = "the end of what is live"
	appendAll(last)
	held := rows(t, database, "agree/%")
	for i := range held { // once: a megabyte takes long under the race detector
		held[i].Payload = lineEnds.Replace(held[i].Payload)
	}

	reference := clients["go-sse"](last)
	for i, query := range streams {
		want := expect(held[:split], query)
		want = append(append(want, event{Type: "outcrier.live", Data: "{}"}), expect(held[split:], query)...)
		got := reference[i]
		if len(got) == 0 || got[0].Type != "outcrier.hello" {
			t.Fatalf("stream %d does not begin with hello: %v", i, got)
		}
		compare(t, fmt.Sprintf("the database and go-sse on stream %d", i), want, withoutPositions(got[1:]))
		reference[i] = withoutPositions(inBrief(got))
	}
	for _, name := range []string{"Chromium", "node"} {
		for i, got := range clients[name](last) {
			// Streams that are opened one after the other may begin at different positions.
			compare(t, fmt.Sprintf("go-sse and %s on stream %d", name, i), reference[i], withoutPositions(got))
		}
	}
}

// inBrief returns events as follow.js keeps them.
func inBrief(events []event) []event {
	events = slices.Clone(events)
	for i, e := range events {
		if len(e.Data) >= 10_000 {
			sum := fnv.New32a()
			_, _ = io.WriteString(sum, e.Data)
			events[i].Data = fmt.Sprintf("%d bytes, sum %d", len(e.Data), sum.Sum32())
		}
	}
	return events
}

// A payload stays one line of the stream: its ends of lines, which are between the
// values of the JSON, are blanks there, and the line separators beyond ASCII, which are
// in strings, are escaped.
var lineEnds = strings.NewReplacer("\r", " ", "\n", " ", "\u2028", `\u2028`, "\u2029", `\u2029`, "\u0085", `\u0085`)

// expect is what a client should make of rows whose payloads are one line; of the id only what
// stands before the dot.
func expect(rows []row, query url.Values) []event {
	var events []event
	for _, r := range rows {
		e := event{ID: strconv.FormatInt(r.ID, 10), Type: r.Type, Data: r.Payload}
		if query.Get("names") == "message" {
			e.Type = "message"
		}
		if query.Get("format") != "payload" {
			e.Data = envelope(r)
		}
		events = append(events, e)
	}
	return events
}

// envelope is a row as a CloudEvent, its payload byte for byte.
func envelope(r row) string {
	quote := func(text string) string {
		quoted, _ := json.Marshal(text) // a string can't fail
		return string(quoted)
	}
	return fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":%s,"type":%s,"topic":%s,"time":"%s","datacontenttype":"application/json","data":%s}`,
		r.ID, quote(r.Source), quote(r.Type), quote(r.Topic), r.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000Z"), r.Payload)
}

// withoutPositions leaves of an id what the database holds.
func withoutPositions(events []event) []event {
	events = slices.Clone(events)
	for i := range events {
		events[i].ID, _, _ = strings.Cut(events[i].ID, ".")
		if events[i].Type == "outcrier.live" {
			events[i].ID = ""
		}
	}
	return events
}

// compare shows the first difference only: events can be large.
func compare(t *testing.T, between string, want, got []event) {
	t.Helper()
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			t.Errorf("between %s: the %d. event, %v, is too much", between, i, got[i])
		case i >= len(got):
			t.Errorf("between %s: the %d. event, %v, is missing", between, i, want[i])
		case want[i] != got[i]:
			t.Errorf("between %s: the %d. event\n is %v\nnot %v", between, i, got[i], want[i])
		default:
			continue
		}
		return
	}
}
