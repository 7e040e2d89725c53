package sse

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/internal/outage"
)

// TestWaiters_AreLoggedOnceAndItsEndWithTheStreams: however many streams wait, and however
// often they fail, the log has one line for an outage, and one when it is over.
func TestWaiters_AreLoggedOnceAndItsEndWithTheStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		o := waiters{outage: outage.Outage{Many: true}}
		count := func(part string) int { return strings.Count(text.String(), part) }
		for range 1000 {
			o.fails(t.Context(), log, "replay", errors.New("gone"), true)
		}
		time.Sleep(time.Second)
		for range 999 {
			o.ends(t.Context(), log)
		}
		if n := count("\n"); n != 1 || count("streams wait for the database") != 1 {
			t.Fatalf("%d lines while streams wait:\n%s", n, &text)
		}
		o.ends(t.Context(), log)
		if count("\n") != 2 || count("any more") != 1 || count("streams=1000 after=1s") != 1 {
			t.Fatalf("when none waits any more:\n%s", &text)
		}
		// An outage that comes and goes is not logged again and again.
		for range 50 {
			o.fails(t.Context(), log, "replay", errors.New("gone"), true)
			o.ends(t.Context(), log)
		}
		if count("\n") != 2 {
			t.Errorf("within the same minute:\n%s", &text)
		}
		o.fails(t.Context(), log, "replay", errors.New("gone"), true)
		time.Sleep(time.Minute)
		o.fails(t.Context(), log, "replay", errors.New("gone"), false) // the same stream, still
		o.ends(t.Context(), log)
		if count("\n") != 4 {
			t.Errorf("of an outage that goes on for longer:\n%s", &text)
		}
	})
}
