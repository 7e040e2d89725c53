package tamarind

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
)

const (
	sessionCookie = "session"
	sessionLasts  = 30 * 24 * time.Hour
)

// streamPath is where a person's page opens its stream. Their session's cookie is for paths
// below, so that one page can show several people, each with a session.
func streamPath(person string) string { return "/as/" + person }

// sessions are the business's own: a cookie with a name, an end, and the mark of a key
// that is in the database. No node and no restart has to know them.
type sessions struct{ key []byte }

func (s sessions) mark(text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookie opens a session.
func (s sessions) cookie(person string) *http.Cookie {
	until := time.Now().Add(sessionLasts)
	text := person + "." + strconv.FormatInt(until.Unix(), 10)
	return &http.Cookie{ //nolint:gosec // G124: not Secure, for plain HTTP on loopback
		Name: sessionCookie, Value: text + "." + s.mark(text), Path: streamPath(person), Expires: until,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// read returns whose session a cookie is, and when it ends.
func (s sessions) read(value string) (person string, until time.Time, ok bool) {
	parts := strings.Split(value, ".")
	if len(parts) != 3 || !hmac.Equal([]byte(s.mark(parts[0]+"."+parts[1])), []byte(parts[2])) {
		return "", time.Time{}, false
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	until = time.Unix(seconds, 0)
	return parts[0], until, err == nil && time.Now().Before(until)
}

type personKey struct{}

// As marks a request as one to a person's own stream.
func As(r *http.Request, person string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), personKey{}, person))
}

// Identify is outcrier.Config's Authenticate. A person's own stream needs their session,
// and gets the events that concern them. Everything else is open to the person at the
// machine, who may read and do everything: the demo listens on loopback only, so that curl
// needs no password.
func (b *Business) Identify(r *http.Request) (outcrier.Identity, error) {
	person, own := r.Context().Value(personKey{}).(string)
	if !own {
		return outcrier.Identity{Subscribe: []outbox.Pattern{"**"}, Publish: []outbox.Pattern{"**"}, Admin: true}, nil
	}
	refused := &outcrier.Refusal{Status: http.StatusUnauthorized, Detail: "open the page of " + person + " first: it has the session"}
	sent, err := r.Cookie(sessionCookie)
	if err != nil {
		return outcrier.Identity{}, refused
	}
	name, until, ok := b.sessions.read(sent.Value)
	if !ok || name != person {
		return outcrier.Identity{}, refused
	}
	identity := outcrier.Identity{Subject: name, Issued: until.Add(-sessionLasts), Expires: until}
	for _, topic := range topics(b.people[name]) {
		identity.Subscribe = append(identity.Subscribe, outbox.Pattern(topic))
	}
	return identity, nil
}
