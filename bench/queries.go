package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// queryCounter stands between a server and its Postgres and counts the statements
// that it runs. Postgres's own statistics come seconds late and know no sessions.
type queryCounter struct {
	listener net.Listener
	config   *pgx.ConnConfig
	queries  atomic.Int64

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
	copies sync.WaitGroup
}

// newQueryCounter counts on the way to the database at dsn, which is not encrypted.
func newQueryCounter(ctx context.Context, dsn string) (*queryCounter, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	q := &queryCounter{config: config}
	if q.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("count queries: %w", err)
	}
	q.copies.Go(q.accept)
	return q, nil
}

// url is the database by way of the counter.
func (q *queryCounter) url() string {
	parameters := url.Values{"sslmode": {"disable"}}
	for name, value := range q.config.RuntimeParams {
		parameters.Set(name, value)
	}
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(q.config.User, q.config.Password),
		Host: q.listener.Addr().String(), Path: "/" + q.config.Database, RawQuery: parameters.Encode(),
	}).String()
}

// count is 0 for a nil counter.
func (q *queryCounter) count() int64 {
	if q == nil {
		return 0
	}
	return q.queries.Load()
}

func (q *queryCounter) accept() {
	for {
		client, err := q.listener.Accept()
		if err != nil {
			return
		}
		network, address := pgconn.NetworkAddress(q.config.Host, q.config.Port)
		database, err := new(net.Dialer).DialContext(context.Background(), network, address)
		if err != nil || !q.hold(client, database) {
			_ = client.Close()
			continue
		}
		// The end of one direction is the end of both.
		q.copies.Go(func() {
			_ = q.forward(database, bufio.NewReader(client))
			_ = errors.Join(database.Close(), client.Close())
		})
		q.copies.Go(func() {
			_, _ = io.Copy(client, database)
			_ = errors.Join(database.Close(), client.Close())
		})
	}
}

func (q *queryCounter) hold(conns ...net.Conn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.conns = append(q.conns, conns...)
	return !q.closed
}

// forward passes the client's messages on (PostgreSQL, "Message Formats"): the first
// is a length and its content, all others have a type before that. Query and
// Execute run a statement.
func (q *queryCounter) forward(database io.Writer, from *bufio.Reader) error {
	to := bufio.NewWriter(database)
	for header := 4; ; header = 5 {
		head, err := from.Peek(header)
		if err != nil {
			return err
		}
		if header == 5 && (head[0] == 'Q' || head[0] == 'E') {
			q.queries.Add(1)
		}
		size := int64(binary.BigEndian.Uint32(head[header-4:])) + int64(header-4)
		if _, err := io.CopyN(to, from, size); err != nil {
			return err
		}
		if from.Buffered() == 0 {
			if err := to.Flush(); err != nil {
				return err
			}
		}
	}
}

func (q *queryCounter) close() error {
	err := q.listener.Close()
	q.mu.Lock()
	q.closed = true
	for _, conn := range q.conns {
		_ = conn.Close()
	}
	q.mu.Unlock()
	q.copies.Wait()
	return err
}

// uncountable is why the queries of a server can't be counted, "" where they can.
func (b *bench) uncountable() string {
	switch {
	case b.target.own == nil:
		return "not measured: the server is not the bench's own"
	case b.target.admin.Config().TLSConfig != nil:
		return "not measured: connections to the database may be encrypted; sslmode=disable in its URL allows it"
	}
	return ""
}

// countQueries puts a counter between the bench's own server and its database: all
// of its queries go through, but those of the tail, which has a connection of its
// own. Without a counter it says why.
func (b *bench) countQueries(ctx context.Context) (q *queryCounter, unknown string, err error) {
	if unknown = b.uncountable(); unknown != "" {
		return nil, unknown, nil
	}
	if q, err = newQueryCounter(ctx, b.target.database); err != nil {
		return nil, "", err
	}
	b.target.own.database = q.url()
	if err := b.target.own.restart(ctx); err != nil {
		return nil, "", errors.Join(err, b.uncountQueries(ctx, q))
	}
	return q, "", nil
}

// uncountQueries restarts the server without the counter.
func (b *bench) uncountQueries(ctx context.Context, q *queryCounter) error {
	b.target.own.database = b.target.database
	var err error
	if ctx.Err() == nil {
		err = b.target.own.restart(ctx)
	} else {
		err = b.target.own.stop()
	}
	return errors.Join(err, q.close())
}
