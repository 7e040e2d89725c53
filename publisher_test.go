package outcrier_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// Who appends by HTTP is on record with the event: the subject of the token, whatever the
// body and the headers say, also of an event that is delivered later. An append by SQL has
// no publisher, nor has one that stored nothing of its own.
func TestNode_RecordsThePublisherOfAnAppend(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	node := newNode(t, outcrier.Config{DatabaseURL: url, Authenticate: func(r *http.Request) (outcrier.Identity, error) {
		return outcrier.Identity{Subject: r.Header.Get("Who"), Publish: []outbox.Pattern{"**"}, Explicit: true}, nil
	}})
	base, _ := serve(t, node)
	post := func(who, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Who", who)
		request.Header.Set("Publisher", "forged")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if answer, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %d %s", body, response.StatusCode, answer)
		}
	}
	defer http.DefaultClient.CloseIdleConnections()
	for topic, key := range map[string]string{"by SQL": "k", "by SQL alone": ""} {
		if _, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, dedup_key) VALUES ($1, 't', $2)`, topic, key); err != nil {
			t.Fatal(err)
		}
	}
	post("shop", `[{"topic": "a", "type": "t", "headers": {"publisher": "forged"}}, {"topic": "b", "type": "t", "dedup_key": "b"}]`)
	post("another", `{"topic": "b", "type": "t", "dedup_key": "b"}`)      // is there already
	post("another", `{"topic": "by SQL", "type": "t", "dedup_key": "k"}`) // and is SQL's
	post("", `{"topic": "nameless", "type": "t"}`)
	post("desk", fmt.Sprintf(`{"topic": "later", "type": "t", "deliver_at": %q}`, time.Now().Add(time.Second).Format(time.RFC3339Nano)))
	const query = `SELECT string_agg(concat_ws(' ', topic, 'by', coalesce(publisher, 'nobody')), ', ' ORDER BY topic) FROM outcrier.history`
	const want = "a by shop, b by shop, by SQL by nobody, by SQL alone by nobody, later by desk, nameless by nobody"
	var got string
	eventually(t, func() bool {
		if err := pool.QueryRow(t.Context(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(got, "later")
	})
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// Searches and the list of what is scheduled show it too.
	post("desk", fmt.Sprintf(`{"topic": "tomorrow", "type": "t", "deliver_at": %q}`, time.Now().Add(24*time.Hour).Format(time.RFC3339Nano)))
	if _, err := pool.Exec(t.Context(), `SELECT outcrier.append('tomorrow by SQL', 't', deliver_at => clock_timestamp() + interval '2 days')`); err != nil {
		t.Fatal(err)
	}
	var listed []string
	list := func(topic string, publisher *string) {
		if publisher == nil {
			publisher = new(string)
			*publisher = "nobody"
		}
		listed = append(listed, topic+" by "+*publisher)
	}
	a := admin.New(pool)
	planned, err := a.Planned(t.Context(), admin.PlannedSearch{After: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range planned {
		list(p.Topic, p.Publisher)
	}
	for _, find := range []func(context.Context, admin.Search) (admin.Found, error){a.Search, a.Unsent} {
		found, err := find(t.Context(), admin.Search{Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		page := len(listed)
		for _, e := range found.Events {
			list(e.Topic, e.Publisher)
		}
		slices.Sort(listed[page:])
	}
	events := strings.Split(want, ", ")
	slices.Sort(events)
	if all := slices.Concat([]string{"tomorrow by desk", "tomorrow by SQL by nobody"}, events, events); !slices.Equal(listed, all) {
		t.Errorf("listed are %q\nwant %q", listed, all)
	}
}
