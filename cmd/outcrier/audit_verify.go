package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/outcrier/outcrier/outbox/audit"
)

// auditVerifyConfig is the settings of "outcrier audit verify".
type auditVerifyConfig struct {
	DatabaseSettings
	Heads []string `scope:"audit-verify" name:"head" help:"a head that an earlier run printed; it must still be in the chain"`
	JSON  bool     `scope:"audit-verify" name:"json" help:"print one JSON object instead"`
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

func (c *auditVerifyConfig) check(r *report) {
	c.required(r)
	for _, head := range c.Heads {
		if _, err := audit.ParseHead(head); err != nil {
			r.reject("head", "%v", err)
		}
	}
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

// withAudit calls fn with the audit.
func (d DatabaseSettings) withAudit(fn func(audit.Chain) error) error {
	return d.withPool(func(pool *pgxpool.Pool) error { return fn(audit.Chain{Pool: pool, Schema: d.Schema}) })
}
