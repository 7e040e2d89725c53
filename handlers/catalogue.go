package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/singleflight"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox/catalogue"
)

// catalogue is GET /catalogue: the types of events and their meaning, for identities that
// may read any event at all. Browsers keep it for a minute, and then revalidate it.
func (h *handlers) catalogue(c echo.Context, who identity) error {
	if err := who.mayReadCatalogue(); err != nil {
		return err
	}
	var known []string
	if h.Access.QueryToken {
		known = []string{"token"}
	}
	if _, err := queryOf(c, known...); err != nil {
		return err
	}
	answer, err := h.types.get(c.Request().Context(), h.Catalogue)
	if err != nil && c.Request().Context().Err() != nil {
		return nil // the client is gone
	}
	if err != nil {
		h.unanswered.fails(c.Request().Context(), catalogueFailed, err)
		return fault(http.StatusServiceUnavailable, "the database is not available")
	}
	h.unanswered.answered(c.Request().Context(), catalogueFailed)
	header := c.Response().Header()
	header.Set("ETag", answer.tag)
	header.Set(echo.HeaderCacheControl, "private, max-age=60")
	header.Add(echo.HeaderVary, echo.HeaderAuthorization)
	header.Add(echo.HeaderVary, echo.HeaderCookie)
	if matches(c.Request().Header.Values("If-None-Match"), answer.tag) {
		return c.NoContent(http.StatusNotModified)
	}
	release, granted := answer.hold(h.buffered)
	if !granted {
		return h.noRoom(c, fair.OverAll)
	}
	defer release()
	return c.JSONBlob(http.StatusOK, answer.bytes)
}

// Types is the body of GET /catalogue.
type Types struct {
	Types []catalogue.EventType `json:"types"`
}

// types caches the answer for a moment: many pages load at once.
type types struct {
	asked singleflight.Group
	last  atomic.Pointer[answer]
}

// answer is one body of GET /catalogue.
type answer struct {
	*shared
	tag  string
	read time.Time
}

const (
	// typesAge is how old an answer may be.
	typesAge = time.Second
	// typesPatience is how long the database may take.
	typesPatience = 2 * time.Second
)

// get queries the database once for all requests that come meanwhile. A request that is
// cancelled ends only its own wait.
func (t *types) get(ctx context.Context, list func(context.Context) ([]catalogue.EventType, error)) (*answer, error) {
	if last := t.last.Load(); last != nil && time.Since(last.read) < typesAge {
		return last, nil
	}
	asked := t.asked.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), typesPatience)
		defer cancel()
		fresh, err := ask(ctx, list)
		if err == nil {
			if last := t.last.Load(); last != nil && last.tag == fresh.tag {
				fresh.shared = last.shared // one body in memory until it changes
			}
			t.last.Store(fresh)
		}
		return fresh, err
	})
	select {
	case result := <-asked:
		return result.Val.(*answer), result.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func ask(ctx context.Context, list func(context.Context) ([]catalogue.EventType, error)) (*answer, error) {
	found, err := list(ctx)
	if err != nil {
		return nil, err
	}
	if found == nil {
		found = []catalogue.EventType{}
	}
	body, err := json.Marshal(Types{found})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return &answer{&shared{bytes: body}, `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`, time.Now()}, nil
}

// matches reports whether If-None-Match (RFC 9110, 13.1.2) names the tag.
func matches(given []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(given, ","), ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}

// shared is a body that many answers are written from. It is in memory once, however many
// readers take their time, and so it counts once: from the first of them to the last.
type shared struct {
	bytes []byte

	mu      sync.Mutex
	readers int
	share   *fair.Share
}

// sharedPrincipal is the principal of all shared bodies. No identity and no address has this
// name.
const sharedPrincipal = "shared"

// hold counts the body for one more reader, who must call release, unless there is no room.
func (s *shared) hold(all *fair.Bytes) (release func(), granted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers == 0 {
		s.share = all.Open(sharedPrincipal)
		if s.share.Take(int64(len(s.bytes))) != fair.Granted {
			return nil, false
		}
	}
	s.readers++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.readers--; s.readers == 0 {
			s.share.Close()
		}
	}, true
}
