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

// TestUnanswered_IsLoggedOnceAMinute: in an outage the log has a line a minute for each kind
// of failure, which says how many more there were.
func TestUnanswered_IsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		var u unanswered
		fail := func(times int, message string) {
			for range times {
				u.log(t.Context(), log, message, errors.New("gone"), "path", "/a")
			}
		}
		fail(100, "poll failed")
		fail(3, "event not read")
		if n := strings.Count(text.String(), "\n"); n != 2 {
			t.Fatalf("%d lines for two kinds:\n%s", n, &text)
		}
		time.Sleep(unansweredEvery)
		fail(1, "poll failed")
		if !strings.HasSuffix(text.String(), "msg=\"poll failed\" path=/a err=gone unlogged=99\n") {
			t.Errorf("a minute later:\n%s", &text)
		}
	})
}
