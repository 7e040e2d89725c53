package handlers

import (
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/outbox"
)

// pace holds publishers to a rate, each for itself.
type pace struct {
	rate float64 // events per second, 0 for no limit
	mu   sync.Mutex
	by   map[string]*rate.Limiter
}

func newPace(perSecond float64) *pace {
	return &pace{rate: perSecond, by: map[string]*rate.Limiter{}}
}

// paces is how many publishers are remembered at least.
const paces = 10_000

// delay is how long a publisher must wait before so many events; they count only
// if it is 0.
func (p *pace) delay(key string, events int) time.Duration {
	if p.rate == 0 {
		return 0
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	limiter := p.by[key]
	if limiter == nil {
		if len(p.by) >= paces {
			p.forget(now)
		}
		// Room for one request, however large.
		limiter = rate.NewLimiter(rate.Limit(p.rate), max(maxDrafts, int(p.rate)))
		p.by[key] = limiter
	}
	taken := limiter.ReserveN(now, events)
	delay := taken.DelayFrom(now)
	if delay > 0 {
		taken.CancelAt(now)
	}
	return delay
}

// forget drops who has not published for so long that nothing is left to know.
func (p *pace) forget(now time.Time) {
	for key, limiter := range p.by {
		if limiter.TokensAt(now) >= float64(limiter.Burst()) {
			delete(p.by, key)
		}
	}
}

// mayNow refuses who publishes too fast.
func (h *handlers) mayNow(c echo.Context, who caller, drafts []outbox.Draft) error {
	key := who.account
	if key == "" {
		key = who.address
	}
	delay := h.pace.delay(key, len(drafts))
	if delay == 0 {
		return nil
	}
	return tooMany(c, delay, "too many events: allowed are "+strconv.FormatFloat(h.pace.rate, 'g', -1, 64)+" per second")
}
