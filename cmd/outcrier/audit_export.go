package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/outcrier/outcrier/internal/units"
	"github.com/outcrier/outcrier/outbox/audit"
)

// auditExportConfig is the settings of "outcrier audit export".
type auditExportConfig struct {
	DatabaseSettings
	Since  string    `scope:"audit-export" name:"since" help:"where to begin: a time (RFC 3339), a duration back like 24h or 7d, or the cursor of the last line of an earlier export; the oldest record by default"`
	Until  time.Time `scope:"audit-export" name:"until" help:"the time to end before; by default a minute ago"`
	Output string    `scope:"audit-export" name:"output" default:"-" help:"the file to append to, continuing after its last line; - is standard output"`
	LogSettings
}

func (auditExportConfig) Help() string {
	return `Prints the records of the audit as JSON, one a line, in the order in which they were recorded.
A stream is there when it has ended; nothing of the last minute is.

To keep a file up to date, or feed it to a SIEM, call it again and again:

  outcrier audit export --output audit.jsonl

Each line has a cursor. To go on behind a line elsewhere, give its cursor as --since.`
}

func (c *auditExportConfig) check(r *report) {
	c.required(r)
	if _, err := c.begins(time.Now()); err != nil {
		r.reject("since", "want a time (RFC 3339), a duration back like 24h or 7d, or the cursor of a line")
	}
	if c.Output != "-" && r.given("since") {
		r.reject("since", "--output is given too, which goes on behind its last line")
	}
}

// begins returns where the export begins.
func (c *auditExportConfig) begins(now time.Time) (audit.Cursor, error) {
	if c.Since == "" {
		return audit.Cursor{}, nil
	}
	if back, err := units.Duration(c.Since); err == nil && back > 0 {
		return audit.Cursor{RecordedAt: now.Add(-back)}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, c.Since); err == nil {
		return audit.Cursor{RecordedAt: at}, nil
	}
	return audit.ParseCursor(c.Since)
}

// auditLine is a line of the export.
type auditLine struct {
	Cursor     string          `json:"cursor"`
	RecordedAt time.Time       `json:"recorded_at"`
	Kind       string          `json:"kind"`
	Key        string          `json:"key"`
	Record     json.RawMessage `json:"record"`
}

func (c auditExportConfig) Run(ctx context.Context, p process) error {
	after, err := c.begins(time.Now())
	if err != nil {
		return err
	}
	out := p.stdout
	if c.Output != "-" {
		file, err := os.OpenFile(c.Output, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		if after, err = lastCursor(file); err != nil {
			return fmt.Errorf("%s: %w", c.Output, err)
		}
		out = file
	}
	buffered := bufio.NewWriter(out)
	err = c.withAudit(func(chain audit.Chain) error {
		return chain.Export(ctx, after, c.Until, func(r audit.Record) error {
			cursor := audit.Cursor{RecordedAt: r.RecordedAt, Kind: r.Kind, Key: r.Key}
			line, err := json.Marshal(auditLine{cursor.String(), r.RecordedAt.UTC(), r.Kind, r.Key, r.Record})
			if err != nil {
				return err
			}
			_, err = buffered.Write(append(line, '\n'))
			return err
		})
	})
	return errors.Join(err, buffered.Flush())
}

// lastCursor finds the cursor of a file's last whole line, and removes the text after
// it, the beginning of a line that a crash has cut in two.
func lastCursor(file *os.File) (cursor audit.Cursor, err error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return cursor, err
	}
	var tail []byte
	const step = 64 << 10
	for begin := size; ; {
		n := min(begin, step)
		begin -= n
		part := make([]byte, n)
		if _, err := file.ReadAt(part, begin); err != nil && !errors.Is(err, io.EOF) {
			return cursor, err
		}
		tail = append(part, tail...)
		end := bytes.LastIndexByte(tail, '\n') + 1
		previous := bytes.LastIndexByte(tail[:max(0, end-1)], '\n') + 1
		if begin > 0 && (end == 0 || previous == 0) {
			continue // the line begins before this part
		}
		size = begin + int64(end)
		if err := file.Truncate(size); err != nil {
			return cursor, err
		}
		if _, err := file.Seek(size, io.SeekStart); err != nil || end == 0 {
			return cursor, err
		}
		var line auditLine
		if err := json.Unmarshal(tail[previous:end], &line); err != nil {
			return cursor, fmt.Errorf("its last line is not of an export: %w", err)
		}
		return audit.ParseCursor(line.Cursor)
	}
}
