package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
)

// catalogue is GET /catalogue: what the types of events mean, for whoever may
// read any event at all. Browsers keep it for a minute, and then ask whether it
// has changed.
func (h *handlers) catalogue(c echo.Context, who caller) error {
	if err := who.mayReadCatalogue(); err != nil {
		return err
	}
	body, tag, err := h.types.get(c.Request().Context(), h.Catalogue)
	if err != nil {
		h.Log.WarnContext(c.Request().Context(), "catalogue not read", "err", err)
		return fault(http.StatusServiceUnavailable, "the database is not available")
	}
	header := c.Response().Header()
	header.Set("ETag", tag)
	header.Set(echo.HeaderCacheControl, "private, max-age=60")
	header.Add(echo.HeaderVary, echo.HeaderAuthorization)
	header.Add(echo.HeaderVary, echo.HeaderCookie)
	if matches(c.Request().Header.Values("If-None-Match"), tag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.JSONBlob(http.StatusOK, body)
}

// Types is the body of GET /catalogue.
type Types struct {
	Types []outbox.EventType `json:"types"`
}

// types is the answer, kept for a moment: many pages load at once.
type types struct {
	mu   sync.Mutex
	body []byte
	tag  string
	read time.Time
}

// typesAge is how old it may be.
const typesAge = time.Second

func (t *types) get(ctx context.Context, list func(context.Context) ([]outbox.EventType, error)) (body []byte, tag string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.body != nil && time.Since(t.read) < typesAge {
		return t.body, t.tag, nil
	}
	found, err := list(ctx)
	if err != nil {
		return nil, "", err
	}
	if found == nil {
		found = []outbox.EventType{}
	}
	body, err = json.Marshal(Types{found})
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(body)
	t.body, t.tag, t.read = body, `"`+base64.RawURLEncoding.EncodeToString(sum[:15])+`"`, time.Now()
	return t.body, t.tag, nil
}

// matches is If-None-Match (RFC 9110, 13.1.2).
func matches(given []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(given, ","), ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}
