// Package session is an application's own cookie sessions: who is signed in, and which
// topics they may see.
package session

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
)

const (
	cookie = "session"
	lasts  = 8 * time.Hour
)

// Sessions are kept in memory. A real application has them in its database.
type Sessions struct {
	mu   sync.Mutex
	open map[string]session // by the cookie's value
}

type session struct {
	identity outcrier.Identity
	signOut  context.CancelFunc
}

// New returns no sessions.
func New() *Sessions { return &Sessions{open: map[string]session{}} }

// SignIn is POST /sign-in with the form value user. A real application asks for a password.
func (s *Sessions) SignIn(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	topic, err := outbox.ParsePattern("user/" + user + "/**")
	if err != nil || user == "" || user == "*" {
		http.Error(w, "no such user", http.StatusForbidden)
		return
	}
	key, expires := rand.Text(), time.Now().Add(lasts)
	signedIn, signOut := context.WithDeadline(context.Background(), expires)
	s.mu.Lock()
	s.open[key] = session{outcrier.Identity{
		Subject: user, Subscribe: []outbox.Pattern{topic, "public/**"}, Expires: expires, Revoked: signedIn,
	}, signOut}
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: key, Path: "/", Expires: expires, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// SignOut is POST /sign-out. It ends the session's streams too.
func (s *Sessions) SignOut(_ http.ResponseWriter, r *http.Request) {
	if sent, err := r.Cookie(cookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if found, ok := s.open[sent.Value]; ok {
			found.signOut()
			delete(s.open, sent.Value)
		}
	}
}

// Identify is outcrier.Config's Authenticate.
func (s *Sessions) Identify(r *http.Request) (outcrier.Identity, error) {
	if sent, err := r.Cookie(cookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if found, ok := s.open[sent.Value]; ok {
			return found.identity, nil
		}
	}
	return outcrier.Identity{}, &outcrier.Refusal{Status: http.StatusUnauthorized, Detail: "sign in first"}
}
