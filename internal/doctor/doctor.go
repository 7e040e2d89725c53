// Package doctor examines an outbox, the way to it and the way from a server to its
// readers, and reports faults and their remedies. It changes nothing, except that it
// appends a probe by a server, on a topic of its own.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

// Severity is how bad a finding is.
type Severity string

const (
	// OK: it is as it should be.
	OK Severity = "ok"
	// Advice: it works, and could be better.
	Advice Severity = "advice"
	// Warning: it works, and may not for long, or not for all.
	Warning Severity = "warning"
	// Error: something does not work.
	Error Severity = "error"
)

// Finding is the result of one check.
type Finding struct {
	// Check names the check, the same in every run.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Text is the result, Remedy what to do about it; Remedy is empty for OK.
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
	// Details are lines about it, like the transactions in question.
	Details []string `json:"details,omitempty"`
}

// Config says what to examine: empty fields are left out.
type Config struct {
	// DatabaseURL is how the server reaches the outbox, DirectURL the way around a
	// pooler; the same if empty.
	DatabaseURL, DirectURL string
	// Schema is the outbox's, outcrier by default.
	Schema outbox.Schema
	// URL is a server as its readers reach it.
	URL string
	// Token is explained, and used at URL.
	Token string
	// Verifier validates Token; if it is nil the token is only explained.
	Verifier *auth.Verifier
	// Patience is how long a sign of life at URL is waited for: longer than the
	// server's heartbeat, 20 s if zero.
	Patience time.Duration
	// LongOpen is the age at which an open transaction that has appended is a warning: a
	// minute if zero.
	LongOpen time.Duration
	// Found gets each finding at once.
	Found func(Finding)
}

// Examine makes all checks that the Config asks for, and returns how many findings there were
// of each severity.
func Examine(ctx context.Context, c Config) map[Severity]int {
	e := &examination{Config: c, counts: map[Severity]int{}}
	e.Patience, e.LongOpen = cmp.Or(e.Patience, 20*time.Second), cmp.Or(e.LongOpen, time.Minute)
	if c.DatabaseURL != "" {
		e.database(ctx)
	}
	if c.Token != "" {
		e.token(ctx)
	}
	if c.URL != "" {
		e.url(ctx)
	}
	return e.counts
}

// examination is one run of Examine.
type examination struct {
	Config
	counts map[Severity]int
}

func (e *examination) found(f Finding) {
	e.counts[f.Severity]++
	e.Found(f)
}

func (e *examination) ok(check, format string, args ...any) {
	e.found(Finding{Check: check, Severity: OK, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) say(severity Severity, check, text, remedy string, details ...string) {
	e.found(Finding{Check: check, Severity: severity, Text: text, Remedy: remedy, Details: details})
}
