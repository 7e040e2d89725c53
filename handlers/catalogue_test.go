package handlers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/catalogue"
	_ "github.com/outcrier/outcrier/outbox/jsonschema" // as a node has it
)

func (n *node) catalogue(t *testing.T, headers ...string) (answer, handlers.Types) {
	t.Helper()
	a := do(t, "GET", n.url+"/catalogue", "", headers...)
	var types handlers.Types
	if a.status == http.StatusOK {
		if err := json.Unmarshal([]byte(a.body), &types); err != nil {
			t.Fatal(err)
		}
	}
	return a, types
}

func TestCatalogue_IsCachedUntilItChanges(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	a, types := n.catalogue(t)
	var names []string
	for _, one := range types.Types {
		names = append(names, one.Type)
	}
	want := []string{"account.locked", "client.error", "data.synced", "info.updated", "system.maintenance", "trade.executed", "user.logged_in", "user.logged_out"}
	tag := a.header.Get("ETag")
	if !slices.Equal(names, want) || tag == "" || !strings.Contains(a.header.Get("Cache-Control"), "max-age=60") {
		t.Errorf("%d %v: %s", a.status, a.header, a.body)
	}
	if again, _ := n.catalogue(t, "If-None-Match", `"other", W/`+tag); again.status != http.StatusNotModified || again.body != "" || again.header.Get("ETag") != tag {
		t.Errorf("%d %q", again.status, again.body)
	}
	if _, err := n.pool.Exec(t.Context(), `UPDATE outcrier.event_type SET title = 'Locked' WHERE type = 'account.locked'`); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		changed, types := n.catalogue(t, "If-None-Match", tag)
		return changed.status == http.StatusOK && changed.header.Get("ETag") != tag && types.Types[0].Title == "Locked"
	})
}

func TestAppend_PayloadOutsideOfItsSchemaIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	_, err := n.pool.Exec(t.Context(), `INSERT INTO outcrier.event_type (type, title, payload_schema)
		VALUES ('order.placed', 'Order placed', '{"properties": {"lines": {"items": {"type": "integer"}}}}')`)
	if err != nil {
		t.Fatal(err)
	}
	n.post(t, `[{"topic":"a","type":"order.placed"},{"topic":"a","type":"order.placed","payload":{"lines":[1,"2"]}}]`).
		wantProblem(t, 422, "/lines/1", "order.placed", "want integer")
	n.post(t, `{"specversion":"1.0","topic":"a","type":"order.placed","source":"/","data":{"lines":[null]}}`, "Content-Type", "application/cloudevents+json").
		wantProblem(t, 422, "/lines/0")
	if n.count(t) != 0 {
		t.Errorf("%q", n.stored(t))
	}
	n.post(t, `{"topic":"a","type":"order.placed","payload":{"lines":[1]}}`).ids(t)
}

func TestAppend_ScheduledUnderAnIdempotencyKeyIsScheduledOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	body := `{"topic":"a","type":"t","deliver_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`
	first := n.post(t, body, "Idempotency-Key", "k").ids(t)
	if again := n.post(t, body, "Idempotency-Key", "k").ids(t); !slices.Equal(first, again) || n.count(t) != 1 {
		t.Errorf("%v, then %v, %d rows", first, again, n.count(t))
	}
	n.post(t, `{"topic":"a","type":"t","deliver_at":"2999-01-01T00:00:00Z"}`).wantProblem(t, 422, "100 years")
}

func TestBatch_IsAQueryOfStreams(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for _, batch := range []string{"x", "0", "-1s", "1ms", "11s", "250"} {
		do(t, "GET", n.events("topic=a&batch="+batch), "").wantProblem(t, 400, `batch="`+batch+`"`, "10ms to 10s")
	}
	do(t, "GET", n.events("topic=a&batch=1s"), "", "Accept", "application/json").wantProblem(t, 400, `"batch"`, "for streams", "only")
	do(t, "GET", n.events("topic=a&wait=1s"), "").wantProblem(t, 400, `"wait"`, "for long polls", "only")
}

func TestCatalogue_RefusesQueryParametersThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	n := closed(t, queried)
	do(t, "GET", n.url+"/catalogue?type=a", "", bearer(ann)...).wantProblem(t, 400, `"type"`, "allowed are token")
	if a := do(t, "GET", n.url+"/catalogue?token="+ann, ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	do(t, "GET", newNode(t, nil).url+"/catalogue?token=x", "").wantProblem(t, 400, `"token"`, "none is allowed")
}

func TestCatalogue_IsForThoseWhoMayReadAnything(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	writer := must(auth.Mint(tokenKey, auth.Claims{Subject: "w", Publish: []outbox.Pattern{"a"}}, time.Hour))
	admin := must(auth.Mint(tokenKey, auth.Claims{Subject: "root", Admin: true}, time.Hour))
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"nobody": {nil, 401}, "who reads a topic": {bearer(ann), 200}, "who only publishes": {bearer(writer), 403}, "an admin": {bearer(admin), 200},
	} {
		if a, _ := n.catalogue(t, c.headers...); a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestCatalogue_WaitsForTheDatabaseWithinBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		h := handlers.New(handlers.Config{
			Access: handlers.Access{Open: true}, Log: slog.New(slog.DiscardHandler),
			Catalogue: func(ctx context.Context) ([]catalogue.EventType, error) {
				asked++
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		get := func(ctx context.Context, until time.Duration) *httptest.ResponseRecorder {
			began, w := time.Now(), httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "http://localhost/catalogue", nil))
			if took := time.Since(began); took != until {
				t.Errorf("answered after %s, want %s", took, until)
			}
			return w
		}
		var waiting sync.WaitGroup
		leaving, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		waiting.Go(func() { get(leaving, time.Second) }) // who asked first, for the others too
		synctest.Wait()
		for range 3 {
			waiting.Go(func() {
				if w := get(t.Context(), 2*time.Second); w.Code != http.StatusServiceUnavailable {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		waiting.Wait()
		if asked != 1 {
			t.Errorf("the database was asked %d times", asked)
		}
	})
}
