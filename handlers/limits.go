package handlers

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
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

func tooMany(c echo.Context, retry time.Duration, detail string) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	return fault(http.StatusTooManyRequests, detail)
}
