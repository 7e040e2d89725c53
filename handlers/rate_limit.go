package handlers

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
)

// rateLimit limits the rate of each principal.
type rateLimit struct {
	rate  float64 // per second, 0 for no limit
	burst int     // at once
	mu    sync.Mutex
	by    map[string]*rate.Limiter
}

// newRateLimit returns a limit that allows the events of one second at once, and at least
// burst.
func newRateLimit(perSecond float64, burst int) *rateLimit {
	return &rateLimit{rate: perSecond, burst: max(burst, int(perSecond)), by: map[string]*rate.Limiter{}}
}

// rememberedPrincipals is the least number of principals that are remembered.
const rememberedPrincipals = 10_000

// delay returns how long a principal must wait before n more; they count only if it is 0.
func (p *rateLimit) delay(key string, n int) time.Duration {
	if p.rate == 0 {
		return 0
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	limiter := p.by[key]
	if limiter == nil {
		if len(p.by) >= rememberedPrincipals {
			p.forget(now)
		}
		limiter = rate.NewLimiter(rate.Limit(p.rate), p.burst)
		p.by[key] = limiter
	}
	taken := limiter.ReserveN(now, n)
	delay := taken.DelayFrom(now)
	if delay > 0 {
		taken.CancelAt(now)
	}
	return delay
}

// forget drops principals whose budget is full again.
func (p *rateLimit) forget(now time.Time) {
	for key, limiter := range p.by {
		if limiter.TokensAt(now) >= float64(limiter.Burst()) {
			delete(p.by, key)
		}
	}
}

// openAtOnce is how many streams and polls may be opened at once: a browser opens those
// of all its tabs when a node is back.
const openAtOnce = 200

var errTooFast = &wire.Goodbye{Reason: "too_fast", Text: "streams and polls are opened too fast", Passes: true}

// tooFastRetry is the mean time after which a stream that was opened too fast should try
// again.
const tooFastRetry = 10 * time.Second

// mayOpen reports whether a principal may open one more now. If not, it has answered: a
// stream by one that ends at once, so that an EventSource comes back.
func (h *handlers) mayOpen(c echo.Context, who identity, stream bool) (may bool, err error) {
	delay := h.openings.delay(who.principal(), 1)
	if delay == 0 {
		return true, nil
	}
	detail := "too many requests: allowed are " + perSecond(h.openings.rate) + " for one principal (--open-rate)"
	if stream {
		h.refused(c, http.StatusTooManyRequests, errTooFast, detail)
		return false, turnAway(c, errTooFast, max(delay, tooFastRetry))
	}
	return false, tooMany(c, delay, detail)
}

// mayPublishNow refuses a principal that publishes too fast: so many events of a body that
// was counted already.
func (h *handlers) mayPublishNow(c echo.Context, who identity, events int) error {
	if delay := h.published.delay(who.principal(), events); delay > 0 {
		return tooMany(c, delay, "too many events: allowed are "+perSecond(h.published.rate)+" for one principal (--publish-rate)")
	}
	return nil
}

// maySend refuses a body that comes too soon after others.
func (h *handlers) maySend(c echo.Context, who identity, bytes int64) error {
	if delay := h.bodies.delay(who.principal(), int(bytes)); delay > 0 {
		return tooMany(c, delay, "too many bytes of events: allowed are "+perSecond(h.bodies.rate)+" for one principal (--publish-bytes)")
	}
	return nil
}

// maySchedule refuses events for a time further ahead than the node takes.
func (h *handlers) maySchedule(drafts []outbox.Draft) error {
	most := h.Access.Limits.ScheduleAhead
	if most <= 0 {
		return nil
	}
	latest := time.Now().Add(most)
	for _, draft := range drafts {
		if draft.DeliverAt.After(latest) {
			return fault(http.StatusUnprocessableEntity, fmt.Sprintf("deliver_at %s is too far ahead: allowed is %s (--schedule-ahead)", draft.DeliverAt.Format(time.RFC3339), most))
		}
	}
	return nil
}

func perSecond(rate float64) string { return strconv.FormatFloat(rate, 'f', -1, 64) + " per second" }
