package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// envelope is what a tail needs to know of an event.
type envelope struct {
	ID, Topic, Type string
	Data            json.RawMessage
}

// line is an event as a program reads it.
func (c tailConfig) line(event json.RawMessage, e envelope) []byte {
	if c.Format == "payload" {
		event = e.Data
	}
	return append(bytes.TrimSpace(event), '\n')
}

// execute has the command take an event, and returns when it has: it is asked again until
// it succeeds, or ctx ends.
func (c tailConfig) execute(ctx context.Context, p process, event json.RawMessage, e envelope) error {
	retry := backoff.NewExponentialBackOff()
	for {
		shell, flag := "/bin/sh", "-c"
		if runtime.GOOS == "windows" {
			shell, flag = "cmd", "/C"
		}
		cmd := exec.CommandContext(ctx, shell, flag, c.Exec) //nolint:gosec // G204: the command is the user's
		cmd.Env = append(cmd.Environ(), "EVENT_ID="+e.ID, "EVENT_TOPIC="+e.Topic, "EVENT_TYPE="+e.Type)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.line(event, e)), p.stdout, p.stderr
		err := cmd.Run()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			return nil
		}
		pause := retry.NextBackOff()
		p.log.WarnContext(ctx, "the command has not taken the event", "id", e.ID, "err", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// give prints an event, or has the command take it.
func (c tailConfig) give(ctx context.Context, p process, out *listing, event json.RawMessage, e envelope) error {
	switch {
	case c.Exec != "":
		return c.execute(ctx, p, event, e)
	case c.Format == "text":
		return out.print(event)
	}
	_, err := out.w.Write(c.line(event, e))
	return err
}

// work passes on the events of an answer that are new.
func (c tailConfig) work(ctx context.Context, p process, out *listing, mark *bookmark, events []json.RawMessage) error {
	for _, event := range events {
		var e envelope
		if err := json.Unmarshal(event, &e); err != nil {
			return fmt.Errorf("an event of the server: %w", err)
		}
		if mark.has(e.ID) {
			continue
		}
		if err := c.give(ctx, p, out, event, e); err != nil {
			return err
		}
		if err := mark.did(e.ID); err != nil {
			return fmt.Errorf("write the position file: %w", err)
		}
	}
	return nil
}
