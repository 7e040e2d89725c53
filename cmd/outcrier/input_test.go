package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// TestRun_ASignalEndsWhatWaitsForInput has a standard input that never ends, as a terminal's.
func TestRun_ASignalEndsWhatWaitsForInput(t *testing.T) {
	for _, args := range [][]string{
		{"append", "--topic", "a", "--type", "b"}, {"catalogue", "import"}, {"catalogue", "set", "--json"},
		{"catalogue", "set", "--type", "a", "--payload-schema", "-"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		stdin, typed := io.Pipe()
		defer typed.Close()
		code := make(chan int, 1)
		var stdout, stderr bytes.Buffer
		go func() { code <- run(ctx, args, []string{"DATABASE_URL=" + dsn}, stdin, &stdout, &stderr) }()
		if _, err := io.WriteString(typed, " "); err != nil { // it reads
			t.Fatal(err)
		}
		cancel()
		select {
		case got := <-code:
			if got != exitInterrupted || !strings.Contains(stderr.String(), "context canceled") {
				t.Errorf("%q ends with %d: %s", args, got, &stderr)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q reads on", args)
		}
	}
}

// What runs until it is ended is done then.
func TestRun_ASignalIsTheOrderlyEndOfTail(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stdout := &notice{on: "b.c", call: cancel}
	var stderr bytes.Buffer
	url := outboxtest.URL(t)
	if _, err := outboxtest.Pool(t, url).Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'b.c')`); err != nil {
		t.Fatal(err)
	}
	if code := run(ctx, []string{"tail", "--from", "earliest"}, []string{"DATABASE_URL=" + url}, nil, stdout, &stderr); code != exitDone || stderr.Len() > 0 {
		t.Errorf("it ends with %d: %s", code, &stderr)
	}
}
