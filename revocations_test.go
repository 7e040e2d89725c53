package outcrier_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// signedIn lets in whom a header names, since a moment ago.
func signedIn(r *http.Request) (outcrier.Identity, error) {
	subject := r.Header.Get("X-User")
	if subject == "" {
		return outcrier.Identity{}, &outcrier.Refusal{Status: 401, Detail: "who are you?"}
	}
	return outcrier.Identity{Subject: subject, TokenID: "id of " + subject, Issued: time.Now().Add(-time.Minute), Subscribe: []outbox.Pattern{"**"}, Explicit: true}, nil
}

// A revocation in the table ends the streams of every node, has later requests refused,
// and is known to a node that starts later; a row that is inserted by hand counts as
// well.
func TestNode_RevocationsReachEveryNode(t *testing.T) {
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	config := outcrier.Config{DatabaseURL: database, Authenticate: signedIn}
	first, _ := serve(t, newNode(t, config))
	second, _ := serve(t, newNode(t, config))
	open := func(url, user string) *ssetest.Client {
		c := ssetest.Open(t, url+"/events?topic=a", "X-User", user)
		c.Until("outcrier.live")
		return c
	}
	ended := func(c *ssetest.Client) {
		t.Helper()
		events := c.End()
		if last := events[len(events)-1]; last.Type != "outcrier.goodbye" || last.Data != `{"reason":"token_revoked"}` {
			t.Errorf("it ends with %+v", last)
		}
	}
	refused := func(url, user string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/events?topic=a&wait=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-User", user)
		request.Header.Set("Accept", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 401 {
			t.Errorf("%s is answered %d", user, response.StatusCode)
		}
	}
	ann, bob, eve := open(first, "ann"), open(second, "bob"), open(first, "eve")
	stays := open(second, "dan")
	for _, revoke := range []string{
		`SELECT outcrier.revoke(sub => 'ann', reason => 'left')`,
		`SELECT outcrier.revoke(jti => 'id of bob', reason => 'stolen')`,
		`INSERT INTO outcrier.revoked (sub, reason) VALUES ('eve', 'by hand')`,
	} {
		if _, err := pool.Exec(t.Context(), revoke); err != nil {
			t.Fatal(err)
		}
	}
	ended(ann)
	ended(bob)
	ended(eve)
	third, _ := serve(t, newNode(t, config))
	for _, url := range []string{first, second, third} {
		for _, user := range []string{"ann", "bob", "eve"} {
			refused(url, user)
		}
	}
	add(t, database, "a")
	stays.Until("test.added") // no reader receives a marker
	if _, err := pool.Exec(t.Context(), `DELETE FROM outcrier.revoked WHERE sub = 'eve'`); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, first+"/events?topic=a&wait=0", nil)
		request.Header = http.Header{"X-User": {"eve"}, "Accept": {"application/json"}}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode == 200
	})
}

// A node whose role may not read the revocations refuses every request, is not ready,
// and logs the missing right.
func TestNode_IsNotReadyWithoutTheRightToReadRevocations(t *testing.T) {
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	var log testkit.Log
	if _, err := pool.Exec(t.Context(), `ALTER TABLE outcrier.revoked RENAME TO gone`); err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, newNode(t, outcrier.Config{DatabaseURL: database, Authenticate: signedIn, Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	status := func(path string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"X-User": {"ann"}, "Accept": {"application/json"}}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	eventually(t, func() bool { return strings.Contains(log.String(), "revoked tokens can't be read") })
	if ready, poll := status("/readyz"), status("/events?topic=a&wait=0"); ready != 503 || poll != 503 {
		t.Errorf("readyz %d, a poll %d", ready, poll)
	}
	if _, err := pool.Exec(t.Context(), `ALTER TABLE outcrier.gone RENAME TO revoked`); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return status("/readyz") == 200 && status("/events?topic=a&wait=0") == 200 })
}

// A revocation that is committed while a node is cut off from the database is known to it
// when it is back.
func TestNode_RevocationsAreNotMissed(t *testing.T) {
	database := outboxtest.URL(t)
	config := outcrier.Config{DatabaseURL: database, Authenticate: signedIn}
	node := newNode(t, config)
	url, _ := serve(t, node)
	stream := ssetest.Open(t, url+"/events?topic=a", "X-User", "ann")
	stream.Until("outcrier.live")
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// In one transaction with the end of the node's sessions, so that none reads it before.
	if _, err := conn.Exec(t.Context(), `
BEGIN; SELECT outcrier.revoke(sub => 'ann', reason => 'left');
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
COMMIT`); err != nil {
		t.Fatal(err)
	}
	events := stream.End()
	if last := events[len(events)-1]; !strings.Contains(last.Data, "token_revoked") {
		t.Errorf("it ends with %+v", last)
	}
}
