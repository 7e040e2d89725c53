package admin

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// TrendSearch selects what a trend counts.
type TrendSearch struct {
	// By is what the counts are split by: "type" or "topic".
	By string
	// Topic and Type select as in Search.
	Topic outbox.Pattern
	Type  string
	// From is where it begins; the oldest event that is held by default.
	From time.Time
}

// Trend counts events over time.
type Trend struct {
	From time.Time `json:"from"`
	// Bucket is how long each count is of, in seconds; the last is not over yet.
	Bucket float64 `json:"bucket_s"`
	// Exact is false where the counts are projected from a sample of the table.
	Exact bool `json:"exact"`
	// Series are those with the most events, ten at most, and in the end one without a
	// name of all others.
	Series []TrendSeries `json:"series"`
}

// TrendSeries is one line of a trend.
type TrendSeries struct {
	Name   string    `json:"name"`
	Events float64   `json:"events"`
	Counts []float64 `json:"counts"`
}

const (
	trendSeries = 10
	// trendBlocks is how many pages of the table a sample reads: about 50,000 events.
	trendBlocks  = 2000
	trendBuckets = 100
	// trendExact is how many events of one topic are counted one by one.
	trendExact = 100_000
)

// trendSteps are the lengths of a bucket.
var trendSteps = []time.Duration{
	time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour,
}

// Trend counts the events of a time by type or topic. What would take too long to count
// is projected from a sample of the table's pages, always the same ones.
func (a *Admin) Trend(ctx context.Context, s TrendSearch) (Trend, error) {
	return a.trend(ctx, s, trendBlocks)
}

// trend counts all, or about so many pages of the table.
func (a *Admin) trend(ctx context.Context, s TrendSearch, sample float64) (trend Trend, err error) {
	page, err := (&Search{Topic: s.Topic, Type: s.Type, From: s.From, Limit: 1}).check()
	if err == nil && s.By != "type" && s.By != "topic" {
		err = errors.New("by must be type or topic")
	}
	if err != nil {
		return trend, invalid(err)
	}
	err = a.read(ctx, func(tx database.DB) error {
		var oldest *time.Time
		var now time.Time
		var blocks float64
		const spanSQL = `
SELECT clock_timestamp(), (SELECT created_at FROM outcrier.event WHERE topic <> '' ORDER BY id LIMIT 1),
	(SELECT coalesce(sum(pg_relation_size(i.inhrelid)), 0)::float8 / 8192 FROM pg_inherits AS i WHERE i.inhparent = 'outcrier.event'::regclass)`
		if err := tx.QueryRow(ctx, spanSQL).Scan(&now, &oldest, &blocks); err != nil {
			return err
		}
		trend.From = s.From
		if oldest != nil && oldest.After(s.From) {
			trend.From = *oldest
		}
		if trend.From.IsZero() || trend.From.After(now) {
			trend.From = now.Add(-time.Hour)
		}
		step := trendSteps[len(trendSteps)-1]
		for _, each := range trendSteps {
			if now.Sub(trend.From) <= trendBuckets*each {
				step = each
				break
			}
		}
		trend.From, trend.Bucket = trend.From.UTC().Truncate(step), step.Seconds()
		percent := min(100, 100*sample/max(blocks, 1))
		return trend.count(ctx, tx, s.By, page, percent, int(now.Sub(trend.From)/step)+1)
	})
	return trend, err
}

// count fills the series. Of one topic, which an index has, it counts the events one by one if
// they are few.
func (t *Trend) count(ctx context.Context, tx database.DB, by string, page *searchPage, percent float64, buckets int) error {
	t.Exact = percent == 100
	if !t.Exact && page.Topic != "" && page.Topic.Exact() {
		rows, err := t.read(ctx, tx, by, page, 0)
		if err != nil {
			return err
		}
		events := 0.0
		for _, row := range rows {
			events += row.Events
		}
		if t.Exact = events <= trendExact; t.Exact {
			t.Series = seriesOf(rows, 1, buckets)
			return nil
		}
	}
	rows, err := t.read(ctx, tx, by, page, percent)
	if err != nil {
		return err
	}
	t.Series = seriesOf(rows, 100/percent, buckets)
	return nil
}

// counted is how many events of a name there are in a bucket.
type counted struct {
	Bucket int
	Name   string
	Events float64
}

// read counts the events on so many percent of the table's pages, or, for 0, one by one, and no
// more than trendExact and one.
func (t *Trend) read(ctx context.Context, tx database.DB, by string, page *searchPage, percent float64) ([]counted, error) {
	q := new(statement)
	q.add(`SELECT floor(extract(epoch FROM created_at - ?) / ?)::int, `+by+`, count(*)::float8 FROM (SELECT created_at, type, topic FROM outcrier.event`, t.From, t.Bucket)
	if percent > 0 {
		q.add(` TABLESAMPLE SYSTEM (?) REPEATABLE (1)`, percent)
	}
	q.add(` WHERE topic <> '' AND created_at >= ?`, t.From)
	page.where(q, ` AND `)
	if percent == 0 {
		q.add(` LIMIT ?`, trendExact+1)
	}
	q.add(`) AS e GROUP BY 1, 2`)
	return rowsOf[counted](ctx, tx, q.sql.String(), q.args...)
}

// seriesOf returns the series of counts, each times scale: those with the most events, and one
// of all others.
func seriesOf(rows []counted, scale float64, buckets int) []TrendSeries {
	byName := map[string]*TrendSeries{}
	for _, row := range rows {
		one := byName[row.Name]
		if one == nil {
			one = &TrendSeries{Name: row.Name, Counts: make([]float64, buckets)}
			byName[row.Name] = one
		}
		i := max(0, min(row.Bucket, buckets-1)) // a clock may be ahead
		one.Counts[i] += math.Round(row.Events * scale)
		one.Events += math.Round(row.Events * scale)
	}
	series := make([]TrendSeries, 0, len(byName))
	for _, one := range byName {
		series = append(series, *one)
	}
	slices.SortFunc(series, func(a, b TrendSeries) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Name, b.Name))
	})
	if len(series) <= trendSeries+1 {
		return series
	}
	others := TrendSeries{Counts: make([]float64, buckets)}
	for _, one := range series[trendSeries:] {
		others.Events += one.Events
		for i, n := range one.Counts {
			others.Counts[i] += n
		}
	}
	return append(series[:trendSeries:trendSeries], others)
}
