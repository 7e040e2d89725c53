package outcrier_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// What one principal may schedule is limited, at all nodes together and over restarts: an
// event counts until its time has come, and those of others, or of SQL, don't.
func TestNode_LimitsWhatAPrincipalSchedules(t *testing.T) {
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	var urls []string
	for range 2 {
		node := newNode(t, outcrier.Config{
			DatabaseURL: database, Limits: &outcrier.Limits{Scheduled: 3}, FollowOnly: true,
			Authenticate: func(r *http.Request) (outcrier.Identity, error) {
				return outcrier.Identity{Subject: r.Header.Get("Subject"), Publish: []outbox.Pattern{"a"}, Explicit: true}, nil
			},
		})
		url, _ := serve(t, node)
		urls = append(urls, url)
	}
	post := func(node int, subject string, n int, ahead time.Duration) (int, string) {
		t.Helper()
		event := fmt.Sprintf(`{"topic":"a","type":"t","deliver_at":%q}`, time.Now().Add(ahead).Format(time.RFC3339))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, urls[node]+"/events", strings.NewReader("["+strings.Repeat(event+",", n-1)+event+"]"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Subject", subject)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	for i, step := range []struct {
		node    int
		subject string
		n       int
		ahead   time.Duration
		status  int
	}{
		{0, "ann", 2, time.Hour, 201}, {1, "ann", 2, time.Hour, 429}, {1, "ann", 1, time.Hour, 201}, {0, "ann", 1, time.Hour, 429},
		{0, "ann", 100, -time.Hour, 201}, // at once
		{0, "bob", 3, time.Hour, 201}, {1, "bob", 1, time.Hour, 429},
	} {
		status, answer := post(step.node, step.subject, step.n, step.ahead)
		if status != step.status || status == 429 && !strings.Contains(answer, "--max-scheduled") {
			t.Errorf("step %d: %d %s, want %d", i, status, answer, step.status)
		}
	}
	var held int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.scheduled`).Scan(&held); err != nil || held != 6 {
		t.Errorf("%d are scheduled, %v, want 6", held, err)
	}
	// One is cancelled, and some are scheduled by SQL.
	for _, sql := range []string{
		`SELECT outcrier.cancel((SELECT min(id) FROM outcrier.scheduled))`,
		`INSERT INTO outbox (topic, type, deliver_at) SELECT 'a', 't', now() + interval '1 hour' FROM generate_series(1, 10)`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if status, answer := post(0, "ann", 1, time.Hour); status != 201 {
		t.Errorf("in the place of one that was cancelled: %d %s", status, answer)
	}
}

// Requests that run at the same time, at two nodes, don't all count the scheduled
// events before any of them has committed.
func TestNode_ParallelRequestsStayWithinWhatAPrincipalSchedules(t *testing.T) {
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	const limit, requests = 7, 20
	var urls []string
	for range 2 {
		node := newNode(t, outcrier.Config{
			DatabaseURL: database, Limits: &outcrier.Limits{Scheduled: limit}, FollowOnly: true,
			Authenticate: func(*http.Request) (outcrier.Identity, error) {
				return outcrier.Identity{Subject: "ann", Publish: []outbox.Pattern{"a"}, Explicit: true}, nil
			},
		})
		url, _ := serve(t, node)
		urls = append(urls, url)
	}
	event := fmt.Sprintf(`{"topic":"a","type":"t","deliver_at":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	statuses := make([]int, requests)
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			response, err := http.Post(urls[i%2]+"/events", "application/json", strings.NewReader(event)) //nolint:noctx // ends with the node
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
			statuses[i] = response.StatusCode
		})
	}
	all.Wait()
	answers := map[int]int{}
	for _, status := range statuses {
		answers[status]++
	}
	var held int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.scheduled`).Scan(&held); err != nil {
		t.Fatal(err)
	}
	if held != limit || answers[201] != limit || answers[429] != requests-limit {
		t.Errorf("%d are scheduled, answers %v; want %d", held, answers, limit)
	}
}
