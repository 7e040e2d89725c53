package admin_test

import (
	"errors"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestTrend_CountsByTypeAndTopicOverTime(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	if trend, err := a.Trend(t.Context(), admin.TrendSearch{By: "type"}); err != nil || len(trend.Series) != 0 || !trend.Exact {
		t.Errorf("of nothing: %+v %v", trend, err)
	}
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'user/' || n % 30, CASE WHEN n % 4 = 0 THEN 'b' ELSE 'a' END, now() - n * interval '6 minutes' FROM generate_series(399, 0, -1) AS n`)
	id := sqltest.AddNow(t, pool, "gone", 1)[0]
	sqltest.Exec(t, pool, `SELECT outcrier.erase($1::bigint, 'test')`, id)
	trend, err := a.Trend(t.Context(), admin.TrendSearch{By: "type"})
	if err != nil || !trend.Exact || len(trend.Series) != 2 || trend.Series[0].Name != "a" || trend.Series[0].Events != 300 || trend.Series[1].Events != 100 {
		t.Fatalf("%+v %v", trend, err)
	}
	if trend.Bucket != 3600 || len(trend.Series[0].Counts) < 40 || len(trend.Series[0].Counts) > 42 {
		t.Errorf("buckets of %v s, %d of them", trend.Bucket, len(trend.Series[0].Counts))
	}
	for i, n := range trend.Series[0].Counts[1 : len(trend.Series[0].Counts)-1] {
		if both := n + trend.Series[1].Counts[i+1]; both != 10 {
			t.Errorf("hour %d has %v", i+1, both)
		}
	}
	trend, err = a.Trend(t.Context(), admin.TrendSearch{By: "topic", Type: "b*", From: time.Now().Add(-24 * time.Hour)})
	if err != nil || len(trend.Series) != 11 || trend.Series[10].Name != "" {
		t.Fatalf("%+v %v", trend, err)
	}
	sum := 0.0
	for _, one := range trend.Series {
		sum += one.Events
	}
	if sum < 59 || sum > 61 {
		t.Errorf("a day has %v", sum)
	}
	if trend, err := a.Trend(t.Context(), admin.TrendSearch{By: "topic", Topic: "user/7"}); err != nil || len(trend.Series) != 1 || trend.Series[0].Events != 14 {
		t.Errorf("of a topic: %+v %v", trend, err)
	}
	for _, s := range []admin.TrendSearch{{}, {By: "payload"}, {By: "type", Topic: "a//b"}} {
		if _, err := a.Trend(t.Context(), s); !errors.Is(err, admin.ErrSearch) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// Of a large table a sample is counted, and comes out about right.
func TestTrend_ProjectsASample(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, payload) SELECT 'user/' || n % 50, CASE WHEN n % 4 = 0 THEN 'b' ELSE 'a' END, json_build_object('n', repeat('x', 200)) FROM generate_series(1, 20000) AS n`)
	trend, err := a.TrendOfBlocks(t.Context(), admin.TrendSearch{By: "type"}, 200)
	if err != nil || trend.Exact || len(trend.Series) != 2 {
		t.Fatalf("%+v %v", trend, err)
	}
	if a, b := trend.Series[0].Events, trend.Series[1].Events; a < 10_000 || a > 20_000 || b < 3_000 || b > 7_000 {
		t.Errorf("%v and %v, want about 15000 and 5000", a, b)
	}
	exact, err := a.TrendOfBlocks(t.Context(), admin.TrendSearch{By: "type", Topic: "user/3"}, 200)
	if err != nil || !exact.Exact || exact.Series[0].Events != 400 {
		t.Errorf("of one topic: %+v %v", exact, err)
	}
}
