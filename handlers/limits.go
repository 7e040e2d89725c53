package handlers

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// Limits bound the resources of a node that one client may use. A zero is no limit, except
// of Topics and BodyTime.
type Limits struct {
	// StreamsPerPrincipal and StreamsPerAddress are the streams and polls that may
	// be open at a time.
	StreamsPerPrincipal, StreamsPerAddress int
	// Topics is how many topics a stream may name, and how many types; 256 if zero.
	Topics int
	// URLBytes is the longest path with its query.
	URLBytes int
	// BodyTime is how long a body may take to arrive, 30 s if zero.
	BodyTime time.Duration
	// OpenRate is how many streams, polls, single events and requests of admins one principal
	// may ask for per second, an address where there is none. Some hundred at once are allowed.
	OpenRate float64
	// PublishRate and PublishBytes are the events and the bytes of bodies per second of one
	// principal, or address where there is none.
	PublishRate  float64
	PublishBytes int64
	// Scheduled is how many events that one principal scheduled may wait for their time;
	// Config.Append holds to it by ErrScheduled. ScheduleAhead is how far ahead that may be.
	Scheduled     int
	ScheduleAhead time.Duration
	// Buffered is how many bytes of requests and answers the node holds at a time, and
	// BufferedPerPrincipal those of one principal, or address where there is none. A body
	// counts four times, since it is parsed and encoded again; both are at least that of one
	// body of the largest size.
	Buffered, BufferedPerPrincipal int64
}

const (
	defaultTopics   = 256
	defaultBodyTime = 30 * time.Second
)

// quota counts open streams and polls by key.
type quota struct {
	most int // 0 for no limit
	mu   sync.Mutex
	open map[string]int
}

func newQuota(most int) *quota { return &quota{most: most, open: map[string]int{}} }

// enter counts one more and returns true, unless that would exceed the quota; after true,
// leave must be called.
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

// enter counts a stream or poll and returns true, unless a limit forbids it; after true,
// leave must be called.
func (h *handlers) enter(who identity) bool {
	if !h.principals.enter(who.limitKey) {
		return false
	}
	if !h.addresses.enter(who.address) {
		h.principals.leave(who.limitKey)
		return false
	}
	return true
}

func (h *handlers) leave(who identity) {
	h.principals.leave(who.limitKey)
	h.addresses.leave(who.address)
}

// principal returns the key that a request counts under in shared resources: an address
// where there is no identity.
func (w identity) principal() string {
	if w.limitKey != "" {
		return w.limitKey
	}
	return w.address
}

func tooMany(c echo.Context, retry time.Duration, detail string) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	return fault(http.StatusTooManyRequests, detail)
}
