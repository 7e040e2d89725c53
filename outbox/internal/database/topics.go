package database

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A replay uses the index on topics where it knows all its topics. The walk by id, through
// the events of all topics, is for patterns of many topics.
//
// A pattern's topics are listed if there are at most this many.
const listedTopics = 8

// listSQL hops from topic to topic by the index.
const listSQL = `
WITH RECURSIVE topics (name) AS (
	(SELECT topic FROM outcrier.event WHERE topic >= $1 AND topic < $2 ORDER BY topic LIMIT 1)
	UNION ALL
	SELECT (SELECT topic FROM outcrier.event WHERE topic > topics.name AND topic < $2 ORDER BY topic LIMIT 1)
	FROM topics WHERE topics.name IS NOT NULL
)
SELECT name FROM topics WHERE name IS NOT NULL LIMIT $3`

// Pattern is an outbox.Pattern.
type Pattern interface {
	~string
	Exact() bool
	Match(topic string) bool
	Bounds() (low, high string, bounded bool)
}

// Topics returns the topics that the patterns select, sorted, or known is false when they
// are too many to list.
func Topics[P Pattern](ctx context.Context, q DB, patterns []P) (topics []string, known bool, err error) {
	topics = []string{}
	for _, p := range patterns {
		if p.Exact() {
			topics = append(topics, string(p))
			continue
		}
		low, high, bounded := p.Bounds()
		if !bounded {
			return nil, false, nil
		}
		rows, _ := q.Query(ctx, listSQL, low, high, listedTopics+1) // CollectRows has the error
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(names) > listedTopics {
			return nil, false, err
		}
		for _, name := range names {
			if p.Match(name) {
				topics = append(topics, name)
			}
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics), true, nil
}

// Like returns a pattern of LIKE that matches all topics of p, and some others: its "*"
// also matches several segments, and "user/42/**" also topics that only begin with user/42.
// It costs a tenth of an exact regular expression.
func Like[P ~string](p P) string {
	if stem, rest := strings.CutSuffix(string(p), "/**"); rest {
		return likeReplacer.Replace(stem) + "%"
	}
	return likeReplacer.Replace(string(p))
}

var likeReplacer = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`)
