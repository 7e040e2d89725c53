package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// sessions are an application's own, by the value of a cookie.
type sessions map[string]auth.Identity

var errNoDatabase = errors.New("the sessions' database is gone: secret")

func (s sessions) identify(r *http.Request) (auth.Identity, error) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return auth.Identity{}, &auth.Refusal{Status: http.StatusUnauthorized, Detail: "sign in first"}
	}
	if cookie.Value == "broken" {
		return auth.Identity{}, errNoDatabase
	}
	identity, ok := s[cookie.Value]
	if !ok {
		return identity, &auth.Refusal{Status: http.StatusUnauthorized, Detail: "sign in again"}
	}
	return identity, nil
}

// An application's own Authenticate decides who may, ends streams, and its failure is no
// client's fault.
func TestAccess_OwnSessionsDecide(t *testing.T) {
	t.Parallel()
	signedIn, signOut := context.WithCancel(t.Context())
	known := sessions{
		"ann": {Subject: "ann", Subscribe: []outbox.Pattern{"user/ann/**"}, Revoked: signedIn},
		"old": {Subject: "old", Subscribe: []outbox.Pattern{"**"}, Expires: time.Now().Add(-time.Second)},
	}
	n := newNode(t, func(n *node) {
		n.access = handlers.Access{Authenticate: known.identify, Refusals: new(handlers.Refusals)}
	})
	as := func(who string, more ...string) []string { return append(more, "Cookie", "session="+who) }

	do(t, "GET", n.events("topic=user/ann"), "").wantProblem(t, 401, "sign in first")
	do(t, "GET", n.events("topic=user/ann"), "", as("bob")...).wantProblem(t, 401, "sign in again")
	do(t, "GET", n.events("topic=user/bob"), "", as("ann")...).wantProblem(t, 403, `topic "user/bob"`)
	do(t, "GET", n.events("topic=a"), "", as("old")...).wantProblem(t, 401, "expired")
	do(t, "GET", n.events("topic=user/ann"), "", as("ann", "Sec-Fetch-Site", "cross-site")...).wantProblem(t, 403, "another site, which is not among the origins that are allowed (--allow-origin)")
	n.post(t, `{"topic":"user/ann","type":"t"}`, as("ann")...).wantProblem(t, 403, "publishing is not granted on any topic")
	do(t, "POST", n.url+"/session", "", as("ann")...).wantProblem(t, 404)
	do(t, "DELETE", n.url+"/session", "", as("ann")...).wantProblem(t, 404)

	do(t, "GET", n.events("topic=a"), "", as("broken", "Accept", jsonAll)...).wantProblem(t, 503, "can't be authenticated")
	if events := ssetest.Open(t, n.events("topic=a"), as("broken")...).End(); len(events) != 1 || events[0].Data != `{"reason":"unavailable"}` {
		t.Errorf("a stream that can't be authenticated is told %+v", events)
	}

	c := ssetest.Open(t, n.events("topic=user/ann/*"), as("ann")...)
	c.Until("outcrier.live")
	n.add(t, "user/ann/1")
	c.Until("test.added")
	signOut()
	events := c.End()
	if last := events[len(events)-1]; last.Type != "outcrier.goodbye" || last.Data != `{"reason":"revoked"}` {
		t.Errorf("after the sign-out it ends with %+v", last)
	}
	do(t, "GET", n.events("topic=user/ann"), "", as("ann")...).wantProblem(t, 401, "session has ended")
}
