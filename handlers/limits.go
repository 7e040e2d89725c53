package handlers

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/outbox"
)

// Limits are what one client may use up of a node. A zero is no limit, except of
// Topics and BodyTime.
type Limits struct {
	// StreamsPerPrincipal and StreamsPerAddress are the streams and polls that may
	// be open at a time.
	StreamsPerPrincipal, StreamsPerAddress int
	// Topics is how many a stream may name, and as many types; 256 if zero.
	Topics int
	// URLBytes is the longest path with its query.
	URLBytes int
	// BodyTime is how long a body may take to come, 30 s if zero.
	BodyTime time.Duration
	// PublishRate is the events per second of one principal, or address where
	// there is none.
	PublishRate float64
}

const (
	defaultTopics   = 256
	defaultBodyTime = 30 * time.Second
)

// quota counts what is open, by who has it.
type quota struct {
	most int // 0 for no limit
	mu   sync.Mutex
	open map[string]int
}

func newQuota(most int) *quota { return &quota{most: most, open: map[string]int{}} }

// enter counts one in, unless that would be one too many; leave must follow then.
func (q *quota) enter(key string) bool {
	if q.most == 0 || key == "" {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[key] >= q.most {
		return false
	}
	q.open[key]++
	return true
}

func (q *quota) leave(key string) {
	if q.most == 0 || key == "" {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[key]--; q.open[key] == 0 {
		delete(q.open, key)
	}
}

// enter takes a place for a stream or poll; leave must follow if it is true.
func (h *handlers) enter(who caller) bool {
	if !h.principals.enter(who.account) {
		return false
	}
	if !h.addresses.enter(who.address) {
		h.principals.leave(who.account)
		return false
	}
	return true
}

func (h *handlers) leave(who caller) {
	h.principals.leave(who.account)
	h.addresses.leave(who.address)
}

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

func tooMany(c echo.Context, retry time.Duration, detail string) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	return fault(http.StatusTooManyRequests, detail)
}
