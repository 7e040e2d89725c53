package torture

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
)

const (
	soakWriters = 6
	soakLingers = 2
	// pulseTopic has an event each second, for every visitor.
	pulseTopic = "soak/pulse"
	endOfSoak  = "soak.ended"
)

// filler is what payloads are cut from: it doesn't compress well.
var filler = sync.OnceValue(func() string {
	random := make([]byte, 48<<10)
	_, _ = rand.Read(random)
	return base64.StdEncoding.EncodeToString(random)
})

// soakPayload is 100 B to 20 kB long, mostly short.
func soakPayload(r *mathrand.Rand, n int64) string {
	size := 0
	switch k := r.IntN(20); {
	case k < 14:
		size = 60 + r.IntN(400)
	case k < 19:
		size = 500 + r.IntN(3500)
	default:
		size = 4000 + r.IntN(16_000)
	}
	text := filler()
	at := r.IntN(len(text) - size)
	return fmt.Sprintf(`{"n":%d,"text":%q}`, n, text[at:at+size])
}

// write starts all who append. They end their transactions when ctx ends.
func (s *soak) write(ctx context.Context, running *sync.WaitGroup) {
	for i := range soakWriters {
		running.Go(func() { newAppender(s, i).short(ctx) })
	}
	for i := range soakLingers {
		running.Go(func() { newAppender(s, 100+i).long(ctx) })
	}
	running.Go(func() { s.every(ctx, time.Second, func() { s.append("soak.pulsed") }) })
	running.Go(func() { s.every(ctx, 2*time.Second, s.topics.rotate) })
	running.Go(func() { s.every(ctx, time.Second, s.post) })
	running.Go(func() { s.every(ctx, 2*time.Second, s.findMoved) })
	// Dedup keys are kept for as long as --retention says, a day at least; by SQL it
	// can be less. So both ways to keep the table small meet here.
	running.Go(func() {
		s.every(ctx, time.Minute, func() { s.execute(fmt.Sprintf(`CALL outcrier.maintain('%v')`, s.keep)) })
	})
}

func (s *soak) every(ctx context.Context, d time.Duration, do func()) {
	for ctx.Err() == nil {
		do()
		pause(ctx, d)
	}
}

// execute does not fail for the soak's end: an outcome that is not known could not
// be judged.
func (s *soak) execute(statement string) {
	conn, err := connect(context.Background(), s.url)
	if err == nil {
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), statement)
	}
	if err != nil {
		s.t.Errorf("%s: %v", statement, err)
	}
}

// append appends an event that goes to every visitor. It is in the ledger before anybody
// can see it: at the end visitors are judged as soon as they have it.
func (s *soak) append(kind string) {
	ctx := context.Background()
	conn, err := connect(ctx, s.url)
	if err == nil {
		defer conn.Close(ctx)
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			e := row{topic: pulseTopic}
			err := tx.QueryRow(ctx, `INSERT INTO outbox (topic, type) VALUES ('`+pulseTopic+`', $1) RETURNING id, pg_current_xact_id()`, kind).Scan(&e.id, &e.xid)
			s.ledger.add(e)
			return err
		})
	}
	if err != nil {
		s.t.Errorf("append %s: %v", kind, err)
	}
}

// post appends by HTTP; findMoved finds it.
func (s *soak) post() {
	body := fmt.Sprintf(`{"topic":"soak/later/posted","type":"torture.happened","payload":%s}`, soakPayload(mathrand.New(mathrand.NewPCG(s.seed, uint64(s.posted.Load()))), 0))
	response, err := http.Post(s.nodes[0].url+"/events", "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Errorf("POST /events: %v", err)
		return
	}
	response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		s.t.Errorf("POST /events: %s", response.Status)
	}
	s.posted.Add(1)
}

// movedTopics have events whose ids are not returned to those who appended them.
var movedTopics = []string{"soak/later/0", "soak/later/1", "soak/later/2", "soak/later/posted"}

// findMoved adds to the ledger what others appended for us.
func (s *soak) findMoved() {
	ctx := context.Background()
	conn, err := connect(ctx, s.url)
	if err != nil {
		s.t.Errorf("find what was moved: %v", err)
		return
	}
	defer conn.Close(ctx)
	result, _ := conn.Query(ctx, `SELECT id, xid, topic FROM outcrier.event WHERE topic = ANY ($1)`, movedTopics)
	found, err := pgx.CollectRows(result, func(r pgx.CollectableRow) (e row, err error) { return e, r.Scan(&e.id, &e.xid, &e.topic) })
	if err != nil {
		s.t.Errorf("find what was moved: %v", err)
	}
	known := s.moved
	s.moved = map[int64]bool{}
	for _, e := range found {
		s.moved[e.id] = true
		if !known[e.id] {
			s.ledger.add(e)
		}
	}
}

// settleScheduled waits until nothing waits for its time any more. Visitors who leave
// meanwhile are judged meanwhile.
func (s *soak) settleScheduled() {
	testkit.Within(s.t, "all that was scheduled is delivered", time.Minute, func() bool {
		s.findMoved()
		conn, err := connect(s.t.Context(), s.url)
		must(s.t, err)
		defer conn.Close(context.Background())
		var waiting int
		must(s.t, conn.QueryRow(s.t.Context(), `SELECT count(*) FROM outcrier.scheduled`).Scan(&waiting))
		return waiting == 0
	})
	s.findMoved()
}

// appender is an application's session.
type appender struct {
	*soak
	rand *mathrand.Rand
	conn *pgx.Conn
	id   int
	n    int64
	keys []usedKey
}

func newAppender(s *soak, id int) *appender {
	return &appender{soak: s, id: id, rand: mathrand.New(mathrand.NewPCG(s.seed, uint64(id)))}
}

// short runs transactions of different sizes, so many that all of them together
// append at the soak's rate.
func (a *appender) short(ctx context.Context) {
	for ctx.Err() == nil {
		size := 1
		switch k := a.rand.IntN(100); {
		case k >= 98:
			size = 100
		case k >= 85:
			size = 6 + a.rand.IntN(25)
		case k >= 50:
			size = 2 + a.rand.IntN(4)
		}
		a.transact(ctx, size, 0)
		pause(ctx, time.Duration((0.5+a.rand.Float64())*float64(size)*soakWriters/float64(a.rate)*float64(time.Second)))
	}
}

// long runs transactions that stay open.
func (a *appender) long(ctx context.Context) {
	for ctx.Err() == nil {
		hold := a.paced(10*time.Second + mathrand.N(50*time.Second))
		a.transact(ctx, 1+a.rand.IntN(20), hold)
		pause(ctx, a.paced(mathrand.N(10*time.Second)))
	}
}

// transact is not cut off by the end of ctx, which only shortens hold.
func (a *appender) transact(ctx context.Context, size int, hold time.Duration) {
	if err := a.try(ctx, size, hold); err != nil {
		a.t.Errorf("writer %d: %v", a.id, err)
		pause(ctx, time.Second)
	}
}

func (a *appender) try(ending context.Context, size int, hold time.Duration) error {
	ctx := context.Background()
	if a.conn == nil || a.rand.IntN(500) == 0 {
		// Sessions come and go too.
		if a.conn != nil {
			_ = a.conn.Close(ctx)
		}
		conn, err := connect(ctx, a.url)
		if err != nil {
			return err
		}
		a.conn = conn
	}
	tx, err := a.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := a.fill(ctx, tx, size); err != nil {
		return err
	}
	if hold > 0 {
		pause(ending, hold)
	}
	if a.rand.IntN(10) == 0 {
		a.rolledBack.Add(1)
		return tx.Rollback(ctx)
	}
	// The view shows a retry, too, under the id of an earlier event. An event whose time was past when its
	// statement ran was appended at once: findMoved finds it, as all scheduled ones.
	const ownSQL = `SELECT id, pg_current_xact_id(), topic FROM outbox WHERE deliver_at IS NULL AND created_at >= now() AND topic <> ALL ($1)`
	result, _ := tx.Query(ctx, ownSQL, movedTopics)
	rows, err := pgx.CollectRows(result, func(r pgx.CollectableRow) (e row, err error) { return e, r.Scan(&e.id, &e.xid, &e.topic) })
	if err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	a.transactions.Add(1)
	a.ledger.add(rows...)
	return nil
}

// fill appends events in one of the ways there are.
func (a *appender) fill(ctx context.Context, tx pgx.Tx, size int) error {
	topic, payloads := make([]string, size), make([]string, size)
	for i := range size {
		a.n++
		topic[i], payloads[i] = a.topics.one(a.rand), soakPayload(a.rand, a.n)
	}
	if size == 1 {
		switch k := a.rand.IntN(10); {
		case k < 3:
			return a.appendOnce(ctx, tx, topic[0], payloads[0])
		case k < 4:
			return a.appendLater(ctx, tx, payloads[0])
		}
	}
	switch a.rand.IntN(4) {
	case 0:
		rows := make([][]any, size)
		for i := range rows {
			rows[i] = []any{topic[i], "torture.happened", payloads[i]}
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"outbox"}, []string{"topic", "type", "payload"}, pgx.CopyFromRows(rows))
		return err
	case 1:
		for i := range size {
			if _, err := tx.Exec(ctx, insert, topic[i], payloads[i]); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO outbox (topic, type, payload) SELECT topic, 'torture.happened', payload::json
		FROM unnest($1::text[], $2::text[]) AS t(topic, payload)`, topic, payloads)
	return err
}

// appendOnce has a dedup key, now and then one that was used already.
func (a *appender) appendOnce(ctx context.Context, tx pgx.Tx, topic, payload string) error {
	k := usedKey{key: fmt.Sprintf("soak-%d-%d", a.id, a.n), topic: topic}
	if len(a.keys) > 0 && a.rand.IntN(4) == 0 {
		k = a.keys[a.rand.IntN(len(a.keys))]
	}
	if a.keys = append(a.keys, k); len(a.keys) > 100 {
		a.keys = a.keys[50:]
	}
	_, err := tx.Exec(ctx, `SELECT outcrier.append($1, 'torture.happened', $2, dedup_key => $3)`, k.topic, payload, k.key)
	return err
}

func (a *appender) appendLater(ctx context.Context, tx pgx.Tx, payload string) error {
	a.scheduled.Add(1)
	_, err := tx.Exec(ctx, `SELECT outcrier.append($1, 'torture.happened', $2, deliver_at => clock_timestamp() + $3 * interval '1 second')`,
		movedTopics[a.rand.IntN(3)], payload, a.pace*20*a.rand.Float64())
	return err
}
