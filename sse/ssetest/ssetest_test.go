package ssetest_test

import (
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outcrier/outcrier/sse/ssetest"
)

// The examples of the HTML Standard, 9.2.6, and its edges.
func TestParse_AsTheStandardSays(t *testing.T) {
	for name, test := range map[string]struct {
		stream string
		want   []ssetest.Event
	}{
		"two lines":                {"data: YHOO\ndata: +2\ndata: 10\n\n", []ssetest.Event{{Type: "message", Data: "YHOO\n+2\n10"}}},
		"comments and ids":         {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []ssetest.Event{{ID: "1", Type: "message", Data: "first event"}, {Type: "message", Data: "second event"}, {Type: "message", Data: " third event"}}},
		"empty data":               {"data\n\ndata\ndata\n\ndata:", []ssetest.Event{{Type: "message"}, {Type: "message", Data: "\n"}}},
		"a space or none":          {"data:test\n\ndata: test\n\n", []ssetest.Event{{Type: "message", Data: "test"}, {Type: "message", Data: "test"}}},
		"every end of line":        {"data: a\rdata: b\r\ndata: c\n\r\n", []ssetest.Event{{Type: "message", Data: "a\nb\nc"}}},
		"a byte order mark":        {"\ufeffdata: a\n\n", []ssetest.Event{{Type: "message", Data: "a"}}},
		"an id without data":       {"id: 7\n\ndata: a\n\n", []ssetest.Event{{ID: "7", Type: "message", Data: "a"}}},
		"a type without data":      {"event: lost\n\ndata: a\n\n", []ssetest.Event{{Type: "message", Data: "a"}}},
		"an id with NUL":           {"id: 7\nid: 8\x00\ndata: a\n\n", []ssetest.Event{{ID: "7", Type: "message", Data: "a"}}},
		"what is not UTF-8":        {"data: \xff\n\n", []ssetest.Event{{Type: "message", Data: "\ufffd"}}},
		"no blank line at the end": {"data: a\n", nil},
		"an id that is cut off":    {"data: a\nid: 9\n", nil},
		"every end, and a mark":    {"\ufeffdata: a\r\rdata: b\r\n\r\ndata: c\n\r\n", []ssetest.Event{{Type: "message", Data: "a"}, {Type: "message", Data: "b"}, {Type: "message", Data: "c"}}},
		"other separators":         {"other: x\ndata: \ufeff\u2028\u0085\x00\n\n", []ssetest.Event{{Type: "message", Data: "\ufeff\u2028\u0085\x00"}}},
	} {
		if got, _ := ssetest.Parse([]byte(test.stream)); !cmp.Equal(got, test.want) {
			t.Errorf("%s: %s", name, cmp.Diff(test.want, got))
		}
		bytewise := ssetest.NewParser(iotest.OneByteReader(strings.NewReader(test.stream)))
		for i, want := range test.want {
			if got, err := bytewise.Next(); got != want || err != nil {
				t.Errorf("%s, byte by byte: event %d is %+v (%v)", name, i, got, err)
			}
		}
		if got, err := bytewise.Next(); err == nil {
			t.Errorf("%s, byte by byte: %+v comes too", name, got)
		}
	}
	_, p := ssetest.Parse([]byte("retry: 10\nretry: x\nnone: 1\ndata : 1\n:c\n\n"))
	if p.Retry != 10*time.Millisecond || !cmp.Equal(p.Strange, []string{"retry: x", "none: 1", "data : 1"}) || !cmp.Equal(p.Comments, []string{"c"}) {
		t.Errorf("retry %v, strange %q, comments %q", p.Retry, p.Strange, p.Comments)
	}
}
