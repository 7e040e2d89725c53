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
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/units"
	"github.com/outcrier/outcrier/outbox/audit"
)

// auditVerifyConfig is the settings of "outcrier audit verify".
type auditVerifyConfig struct {
	DatabaseSettings
	Heads []string `scope:"audit-verify" name:"head" help:"a head that an earlier run printed; it must still be in the chain"`
	JSON  bool     `scope:"audit-verify" name:"json" help:"print one JSON object instead"`
	LogSettings
}

// auditExportConfig is the settings of "outcrier audit export".
type auditExportConfig struct {
	DatabaseSettings
	Since  string    `scope:"audit-export" name:"since" help:"where to begin: a time (RFC 3339), a duration back like 24h or 7d, or the cursor of the last line of an earlier export; the oldest record by default"`
	Until  time.Time `scope:"audit-export" name:"until" help:"the time to end before; by default a minute ago"`
	Output string    `scope:"audit-export" name:"output" default:"-" help:"the file to append to, continuing after its last line; - is standard output"`
	LogSettings
}

func (auditVerifyConfig) Help() string {
	return `Reads every record of the audit and holds it against the chain of hashes that the nodes have
made of it, a link for each day (UTC). It ends with 1 if something was removed or altered.

A day gets its link an hour after its end, and the record of an open stream still changes: the
command says how many records and streams it could not verify yet, and since when there are any.

It prints the newest link. Note it elsewhere, and give it the next time: whoever owns the
database could else make the whole chain anew.

  outcrier audit verify --head 2026-11-29:5f70…`
}

func (auditExportConfig) Help() string {
	return `Prints the records of the audit as JSON, one a line, in the order in which they were recorded.
A stream is there when it has ended; nothing of the last minute is.

To keep a file up to date, or feed it to a SIEM, call it again and again:

  outcrier audit export --output audit.jsonl

Each line has a cursor. To go on behind a line elsewhere, give its cursor as --since.`
}

func (c *auditVerifyConfig) check(r *report) {
	c.required(r)
	for _, head := range c.Heads {
		if _, err := audit.ParseHead(head); err != nil {
			r.reject("head", "%v", err)
		}
	}
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

// withAudit calls fn with the audit.
func (d DatabaseSettings) withAudit(fn func(audit.Chain) error) error {
	return d.withPool(func(pool *pgxpool.Pool) error { return fn(audit.Chain{Pool: pool, Schema: d.Schema}) })
}

func (c auditVerifyConfig) Run(ctx context.Context, p process) error {
	heads := make([]audit.Link, 0, len(c.Heads))
	for _, text := range c.Heads {
		head, err := audit.ParseHead(text)
		if err != nil {
			return err
		}
		heads = append(heads, head)
	}
	return c.withAudit(func(chain audit.Chain) error {
		found, err := chain.Verify(ctx, heads...)
		if err != nil {
			return err
		}
		outcome := newVerified(found)
		if c.JSON {
			err = printJSON(p.stdout, outcome)
		} else {
			_, err = io.WriteString(p.stdout, outcome.String())
		}
		if len(found.Faults) > 0 {
			return errors.New("the audit is not as it was recorded")
		}
		return err
	})
}

// verified is what "outcrier audit verify" prints.
type verified struct {
	Faults      []string   `json:"faults"`
	Days        int        `json:"days"`
	Records     int64      `json:"records"`
	RemovedDays int        `json:"removed_days"`
	Unchained   unverified `json:"unchained"`
	OpenStreams unverified `json:"open_streams"`
	// Head is the newest link; empty where there is none.
	Head string `json:"head"`
}

type unverified struct {
	Records int64      `json:"records"`
	Since   *time.Time `json:"since"`
}

func newVerified(found audit.Verified) verified {
	v := verified{
		Faults: append([]string{}, found.Faults...), Days: len(found.Days), Records: found.Records,
		Unchained: newUnverified(found.Unchained), OpenStreams: newUnverified(found.Open),
	}
	for _, day := range found.Days {
		if day.Removed {
			v.RemovedDays++
		}
		v.Head = day.String()
	}
	return v
}

func newUnverified(u audit.Unverified) unverified {
	if u.Since.IsZero() {
		return unverified{Records: u.Records}
	}
	since := u.Since.UTC()
	return unverified{u.Records, &since}
}

// String has a line for each fault, and one each for the verified records and the others.
func (v verified) String() string {
	var text strings.Builder
	for _, fault := range v.Faults {
		fmt.Fprintln(&text, fault)
	}
	fmt.Fprintf(&text, "%d days, %d records; the records of %d days were removed by retention\n", v.Days, v.Records, v.RemovedDays)
	fmt.Fprintf(&text, "not verified: %s not in the chain yet%s; %s open%s\n",
		several(int(v.Unchained.Records), "record"), v.Unchained.since(), several(int(v.OpenStreams.Records), "stream"), v.OpenStreams.since())
	if v.Head != "" {
		fmt.Fprintf(&text, "head %s\n", v.Head)
	}
	return text.String()
}

func (u unverified) since() string {
	if u.Since == nil {
		return ""
	}
	return ", since " + u.Since.Format(time.RFC3339)
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
