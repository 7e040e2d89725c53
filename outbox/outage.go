package outbox

import (
	"strings"
	"time"
)

// outage limits the log of work that fails again and again to one line when the failure
// begins, when its cause changes, and once a minute.
type outage struct {
	began, logged time.Time
	why           string
	failures      int
}

const outageEvery = time.Minute

// fails counts a failure, and reports whether to log it.
func (o *outage) fails(err error) bool {
	now := time.Now()
	if o.failures++; o.failures == 1 {
		o.began = now
	}
	why, _ := Explain(err)
	if o.failures > 1 && why == o.why && now.Sub(o.logged) < outageEvery {
		return false
	}
	o.why, o.logged = why, now
	return true
}

// ends returns how long the outage lasted and how often work failed, 0 without one.
func (o *outage) ends() (lasted time.Duration, failures int) {
	if o.failures > 0 {
		lasted, failures = time.Since(o.began), o.failures
	}
	*o = outage{}
	return lasted, failures
}

// oneLine returns an error's text without line breaks, which errors of pgx have.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
