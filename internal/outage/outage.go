// Package outage keeps the log of work short that fails again and again, as all work does
// while the database is away: one line when it begins to fail, and one when it succeeds
// again, however often it was tried.
package outage

import (
	"sync"
	"time"
)

const (
	// remindEvery is the time after which an outage that lasts is logged again.
	remindEvery = 10 * time.Minute
	// apart is the least time between the first lines of two outages of work that many do.
	apart = time.Minute
)

// Outage is about one kind of work. The zero value is ready for use. Its methods may be
// called at the same time.
type Outage struct {
	// Many is for work that many do at the same time, like requests: some may fail while
	// others succeed, and outages of a moment follow each other. Those that begin within
	// a minute of the last line are not logged, unless they last.
	Many bool

	mu                  sync.Mutex
	began, last, logged time.Time // the first failure, the last one, the last line
	failures            int
	told                bool                 // the present outage was logged
	causes              map[string]time.Time // when each was logged
}

// Fails counts a failure, and reports whether to log it: the first one, the first one of a
// cause, and one every ten minutes while the outage lasts. The causes are few.
func (o *Outage) Fails(cause string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.failures == 0 || !o.told && now.Sub(o.last) >= apart {
		o.began, o.failures = now, 0
	}
	o.failures++
	o.last = now
	before, known := o.causes[cause]
	if o.told && known && now.Sub(before) < remindEvery || o.Many && !o.told && now.Sub(o.logged) < apart {
		return false
	}
	if o.causes == nil {
		o.causes = make(map[string]time.Time)
	}
	o.told, o.logged, o.causes[cause] = true, now, now
	return true
}

// Ends ends the outage when the work has succeeded. It returns how often it failed and for
// how long, for the log; 0 if there was no outage, or none that was logged.
func (o *Outage) Ends() (failures int, lasted time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.told {
		return 0, 0
	}
	failures, lasted = o.failures, time.Since(o.began).Round(time.Millisecond)
	o.failures, o.told, o.causes = 0, false, nil
	return failures, lasted
}
