package admin

import (
	"context"
	"errors"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Person is a subject that streams on record were for.
type Person struct {
	Subject string `json:"subject"`
	// Open are the streams that are open, Streams those on record, 1000 at most.
	Open    int `json:"open"`
	Streams int `json:"streams"`
	// LastOpened is when the newest was opened, LastClosed when the last that ended did.
	LastOpened time.Time  `json:"last_opened"`
	LastClosed *time.Time `json:"last_closed"`
	// Addresses are those that the newest streams came from, five at most.
	Addresses []string `json:"client_addresses"`
}

// PeoplePage is how many people are read at once.
const PeoplePage = 50

// People reads the subjects that begin with a text, in order, after the subject of the last
// argument.
func (a *Admin) People(ctx context.Context, prefix, after string) ([]Person, error) {
	// It hops from subject to subject by the index stream_subject.
	const peopleSQL = `
WITH RECURSIVE names (name) AS (
	(SELECT subject FROM outcrier.stream WHERE subject >= $1 AND subject > $2 ORDER BY subject LIMIT 1)
	UNION ALL
	SELECT (SELECT subject FROM outcrier.stream WHERE subject > names.name ORDER BY subject LIMIT 1)
	FROM names WHERE starts_with(names.name, $1)
)
SELECT n.name, s.open, s.streams, s.last_opened, s.last_closed, s.addresses
FROM (SELECT name FROM names WHERE starts_with(name, $1) LIMIT $3) AS n
CROSS JOIN LATERAL (
	SELECT count(*) FILTER (WHERE closed_at IS NULL) AS open, count(*) AS streams, max(opened_at) AS last_opened, max(closed_at) AS last_closed,
		(array_agg(DISTINCT client_address))[:5] AS addresses
	FROM (SELECT opened_at, closed_at, client_address FROM outcrier.stream WHERE subject = n.name ORDER BY opened_at DESC LIMIT 1000) AS newest
) AS s ORDER BY n.name`
	if err := errors.Join(plainText("prefix", prefix, 1000), plainText("after", after, 1000)); err != nil {
		return nil, invalid(err)
	}
	return readAll[Person](ctx, a, peopleSQL, prefix, after, PeoplePage)
}

// EndStreams requests the end of all open streams of a subject, as EndStream does of one,
// and returns how many they are.
func (a *Admin) EndStreams(ctx context.Context, subject, requestedBy string) (streams int, err error) {
	const endSQL = `
SELECT count(*) FILTER (WHERE asked) FROM (
	SELECT outcrier.end_stream(run, stream, $2) AS asked FROM outcrier.stream WHERE subject = $1 AND closed_at IS NULL
) AS s`
	err = a.change(ctx, func(tx database.DB) error {
		return tx.QueryRow(ctx, endSQL, database.Clean(subject), database.Clean(requestedBy)).Scan(&streams)
	})
	return streams, err
}
