package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"github.com/cenkalti/backoff/v5"
)

// envelope has the members of an event that a tail reads.
type envelope struct {
	ID, Topic, Type string
	Data            json.RawMessage
}

// line returns an event as a line for a program.
func (c tailConfig) line(event json.RawMessage, e envelope) []byte {
	if c.Format == "payload" {
		event = e.Data
	}
	return append(bytes.TrimSpace(event), '\n')
}

// run runs the command for an event, again and again until it succeeds or ctx ends.
func (c tailConfig) run(ctx context.Context, p process, event json.RawMessage, e envelope) error {
	input, err := newInputFile(c.line(event, e))
	if err != nil {
		return err
	}
	defer input.remove()
	retry := backoff.NewExponentialBackOff()
	for {
		if _, err := input.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read the event's file: %w", err)
		}
		shell, flag := "/bin/sh", "-c"
		if runtime.GOOS == "windows" {
			shell, flag = "cmd", "/C"
		}
		cmd := exec.CommandContext(ctx, shell, flag, c.Exec) //nolint:gosec // G204: the command is the user's
		cmd.Env = append(cmd.Environ(), "EVENT_ID="+e.ID, "EVENT_TOPIC="+e.Topic, "EVENT_TYPE="+e.Type)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = input.File, p.stdout, p.stderr
		err := cmd.Run()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			return nil
		}
		pause := retry.NextBackOff()
		p.log.WarnContext(ctx, "the command failed, and is run again", "id", e.ID, "err", err, "retry_in", pause)
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// inputFile is the standard input of a command. It is a file and not a pipe: a command
// goes on when the tail is killed, and a pipe would then end in the middle of the event or
// before its first byte, as if that were all. A webhook would get an empty body under the
// event's key, and refuse the event itself as a repeat.
type inputFile struct{ *os.File }

func newInputFile(event []byte) (inputFile, error) {
	file, err := os.CreateTemp("", "outcrier-event-")
	if err != nil {
		return inputFile{}, fmt.Errorf("write the event to a temporary file (TMPDIR) for the command: %w", err)
	}
	_ = os.Remove(file.Name()) // nothing is left after kill -9; Windows refuses, and remove does it there
	if _, err := file.Write(event); err != nil {
		inputFile{file}.remove()
		return inputFile{}, fmt.Errorf("write the event to a temporary file (TMPDIR) for the command: %w", err)
	}
	return inputFile{file}, nil
}

func (f inputFile) remove() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// handle prints an event, or runs the command for it.
func (c tailConfig) handle(ctx context.Context, p process, out *listing, event json.RawMessage, e envelope) error {
	switch {
	case c.Exec != "":
		return c.run(ctx, p, event, e)
	case c.Format == "text":
		return out.print(event)
	}
	_, err := out.w.Write(c.line(event, e))
	return err
}

// handleAll handles the events of an answer, one after the other, but those that were done
// before.
func (c tailConfig) handleAll(ctx context.Context, p process, out *listing, mark *bookmark, events []json.RawMessage) error {
	for _, event := range events {
		var e envelope
		if err := json.Unmarshal(event, &e); err != nil {
			return fmt.Errorf("an event of the server: %w", err)
		}
		if mark.has(e.ID) {
			continue
		}
		if err := c.handle(ctx, p, out, event, e); err != nil {
			return err
		}
		if err := mark.did(e.ID); err != nil {
			return fmt.Errorf("write the position file: %w", err)
		}
	}
	return nil
}
