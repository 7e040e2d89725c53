package handlers

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestUnanswered_IsLoggedWhenItBeginsAndEnds: in an outage the log has one line for each kind
// of failure, and one when it is over, which says how many requests failed.
func TestUnanswered_IsLoggedWhenItBeginsAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		u := unanswered{log: slog.New(slog.NewTextHandler(&text, nil))}
		fail := func(times int, kind unansweredKind) {
			for range times {
				u.fails(t.Context(), kind, errors.New("gone"))
			}
		}
		lines := func(want int, end string) {
			t.Helper()
			if n := strings.Count(text.String(), "\n"); n != want || !strings.HasSuffix(text.String(), end+"\n") {
				t.Fatalf("%d lines, want %d, the last with %s:\n%s", n, want, end, &text)
			}
		}
		u.answered(t.Context(), pollFailed)
		fail(100, pollFailed)
		fail(3, questionFailed("/a"))
		lines(2, `msg="admin's question not answered" route=/a err=gone`)
		time.Sleep(time.Minute)
		fail(1, pollFailed)
		u.answered(t.Context(), pollFailed)
		lines(3, `msg="requests are answered again" before="poll failed" after=1m0s failures=101`)
		u.answered(t.Context(), pollFailed)
		u.answered(t.Context(), catalogueFailed)
		u.answered(t.Context(), questionFailed("/b"))
		u.answered(t.Context(), questionFailed("/a"))
		lines(4, `msg="requests are answered again" route=/a before="admin's question not answered" after=1m0s failures=3`)
	})
}
