package replay

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// plan decides how the pages of a range are read, so that the cost of each is in proportion
// to its events and bounded: a replay gives its turn to another between two pages. It is
// made with the first page, and the range keeps it.
type plan struct {
	// low and high are ranges of topics, each from its low on and below its high, none
	// overlapping, when what they hold is little enough to be read and put in order for
	// every page.
	low, high []string
	// topics, when there are no ranges, are the topics that the filter selects, when these
	// are few: each is read by its index, and they are merged.
	topics []string
	// Otherwise pages walk through all events by id, a window of that many ids per page,
	// and select the topics exact and patterns, or every topic if there are neither.
	window          int64
	exact, patterns []string
}

const (
	// Topics with at most this many events, held at all, are read whole for every page.
	rareEvents = 10_000
	// So many topics are merged at most, and so many of their events read for a page.
	mergedTopics, mergedEvents = 64, 16_000
	// A page by id looks at about so many events, and compares about so many topics.
	windowEvents, windowCompares = 20_000, 160_000
)

// planned returns the range's plan, which it makes for the first page, and the id after which the
// page begins.
func planned(ctx context.Context, q database.DB, rng Range, filter outbox.Filter) (how *plan, after int64, err error) {
	after = rng.After
	if after == 0 {
		if after, err = start(ctx, q, filter); err != nil {
			return nil, 0, fmt.Errorf("find the start of a replay: %w", err)
		}
	}
	how = rng.plan
	if how == nil {
		if how, err = newPlan(ctx, q, filter, after); err != nil {
			return nil, 0, fmt.Errorf("plan a replay: %w", err)
		}
	}
	if after == math.MinInt64 && how.low == nil {
		if after, err = how.start(ctx, q, rng); err != nil {
			return nil, 0, fmt.Errorf("find the start of a replay: %w", err)
		}
	}
	return how, after, nil
}

// newPlan finds the way to the events of a range with ids above after.
func newPlan(ctx context.Context, q database.DB, filter outbox.Filter, after int64) (*plan, error) {
	if slices.Contains(filter.Topics, "**") {
		return &plan{window: windowEvents}, nil
	}
	if len(filter.Topics) == 1 && filter.Topics[0].Exact() {
		return &plan{topics: []string{string(filter.Topics[0])}}, nil
	}
	if low, high, bounded := ranges(filter.Topics); bounded {
		few, err := rare(ctx, q, low, high, after)
		if err != nil {
			return nil, err
		}
		if few {
			return &plan{low: low, high: high}, nil
		}
		if len(filter.Topics) <= mergedTopics {
			topics, known, err := database.Topics(ctx, q, filter.Topics)
			if err != nil {
				return nil, err
			}
			if known && len(topics) <= mergedTopics {
				return &plan{topics: topics}, nil
			}
		}
	}
	p := &plan{}
	p.exact, p.patterns = split(filter.Topics)
	p.window = min(windowEvents, max(1000, windowCompares/int64(len(filter.Topics))))
	return p, nil
}

// ranges are the topics that the patterns select, and few others, as ranges from low on and
// below high, which are sorted and don't overlap; bounded is false if one of them begins
// with a wildcard. No topic has a control character: below that follows a topic itself.
func ranges(patterns []outbox.Pattern) (low, high []string, bounded bool) {
	type bounds struct{ low, high string }
	var all []bounds
	low, high = []string{}, []string{} // of no pattern too
	for _, p := range patterns {
		from, to, ok := p.Bounds()
		switch {
		case p.Exact():
			all = append(all, bounds{string(p), string(p) + "\x01"})
		case !ok:
			return nil, nil, false
		case strings.HasSuffix(string(p), "/**") && string(p) == from+"/**":
			all = append(all, bounds{from, from + "\x01"}, bounds{from + "/", to})
		default:
			all = append(all, bounds{from, to})
		}
	}
	slices.SortFunc(all, func(a, b bounds) int { return cmp.Compare(a.low, b.low) })
	for _, s := range all {
		if n := len(high); n > 0 && s.low <= high[n-1] {
			high[n-1] = max(high[n-1], s.high)
			continue
		}
		low, high = append(low, s.low), append(high, s.high)
	}
	return low, high, true
}

const rareSQL = `
SELECT count(*) <= $4 FROM (
	SELECT FROM unnest($1::text[], $2::text[]) AS t(low, high) CROSS JOIN LATERAL (
		SELECT FROM outcrier.event AS o WHERE o.topic >= t.low AND o.topic < t.high AND o.id > $3 ORDER BY o.topic, o.id LIMIT $4 + 1
	) AS e LIMIT $4 + 1
) AS events`

// rare reports whether few events with ids above after are held of the ranges.
func rare(ctx context.Context, q database.DB, low, high []string, after int64) (few bool, err error) {
	err = q.QueryRow(ctx, rareSQL, low, high, after, int64(rareEvents)).Scan(&few)
	return few, err
}

// start returns an id below those of all events that a filter selects; the smallest number if the
// filter has no time.
func start(ctx context.Context, q database.DB, filter outbox.Filter) (after int64, err error) {
	if !filter.Since.IsZero() {
		const sinceSQL = `SELECT outcrier.id_at($1::timestamptz - interval '1 minute') - 1`
		err := q.QueryRow(ctx, sinceSQL, filter.Since).Scan(&after)
		return after, err
	}
	return math.MinInt64, nil
}

// start returns an id below those of all events of the range. Where a topic has few events it
// saves nothing to look for a close one.
func (p *plan) start(ctx context.Context, q database.DB, rng Range) (after int64, err error) {
	from, to := rng.From.Given, rng.To.Given
	if from.Max == 0 {
		if p.topics != nil {
			return math.MinInt64, nil
		}
		after, _, err := next(ctx, q, math.MinInt64)
		return after, err
	}
	if len(p.topics) == 1 { // of more it is known that they have many
		few, err := rare(ctx, q, p.topics, []string{p.topics[0] + "\x01"}, math.MinInt64)
		if few || err != nil {
			return math.MinInt64, err
		}
	}
	var id *int64
	if err := q.QueryRow(ctx, lowestSQL, from.Max, from.Except, to.Max, to.Except).Scan(&id); err != nil {
		return 0, err
	}
	if id == nil {
		return math.MaxInt64, nil
	}
	return *id - 1, nil
}

// nextSQL finds the first id above $1.
const nextSQL = `SELECT min(id) FROM (SELECT id FROM outcrier.event WHERE id > $1 ORDER BY id LIMIT 1) AS e`

// next returns the id below the first one above after; ok is false if there is none.
func next(ctx context.Context, q database.DB, after int64) (before int64, ok bool, err error) {
	var id *int64
	if err := q.QueryRow(ctx, nextSQL, after).Scan(&id); err != nil || id == nil {
		return after, false, err
	}
	return *id - 1, true, nil
}
