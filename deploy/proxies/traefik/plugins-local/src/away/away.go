// Package away is a plugin of Traefik, which interprets it: it answers a request for a
// stream while no node of Outcrier is there, so that an EventSource comes back.
package away

import (
	"context"
	"net/http"
)

// Config has no settings.
type Config struct{}

// CreateConfig returns the settings.
func CreateConfig() *Config { return &Config{} }

// Away is the middleware, which passes nothing on.
type Away struct{}

// New returns it. The parameters have names because Traefik's interpreter takes one for
// another without.
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	return &Away{}, nil
}

// ServeHTTP answers.
func (a *Away) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store, no-transform")
	_, _ = w.Write([]byte("event: outcrier.goodbye\nretry: 3000\ndata: {\"reason\":\"unavailable\"}\n\n"))
}
