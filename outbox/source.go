package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// FileURL returns a placeholder for the URL of a database, which is in a file. This module
// accepts it wherever it takes a URL, and reads the file for each connection, so that a
// password can change while the program runs.
func FileURL(name string) string { return filePrefix + name }

const filePrefix = "file:"

// ResolveURL returns the URL itself; for one that FileURL made, the present content of the
// file.
func ResolveURL(url string) (string, error) {
	name, is := strings.CutPrefix(url, filePrefix)
	if !is {
		return url, nil
	}
	text, err := os.ReadFile(name) //nolint:gosec // the file is named in the configuration
	if err != nil {
		return "", fmt.Errorf("read the database's URL: %w", err)
	}
	if url = strings.TrimSpace(string(text)); url == "" {
		return "", fmt.Errorf("read the database's URL: %w: %s is empty", database.ErrNoURL, name)
	}
	return url, nil
}

// poolState is the result of a pool's newest attempt to connect. It is the pool's tracer:
// nothing else learns why a connection could not be made.
type poolState struct {
	way *way

	mu     sync.Mutex
	fault  error
	probed time.Time
}

func (s *poolState) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

func (s *poolState) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if data.Err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the caller no longer waits
	}
	s.note(data.Err)
}

func (s *poolState) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (s *poolState) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *poolState) note(fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// probeEvery is how often a pool that could not connect is tried again by PoolFault.
const probeEvery = time.Second

// PoolFault returns why the pool's newest attempt to connect failed; nil if it did not, or
// for a pool whose configuration is not PoolConfig's. While it failed, PoolFault tries
// again, at most once a second: nothing else may try, since a node that is not ready gets
// no requests.
func PoolFault(ctx context.Context, pool *pgxpool.Pool) error {
	state, is := pool.Config().ConnConfig.Tracer.(*poolState)
	if !is {
		return nil
	}
	state.mu.Lock()
	fault := state.fault
	due := fault != nil && time.Since(state.probed) >= probeEvery
	if due {
		state.probed = time.Now()
	}
	state.mu.Unlock()
	if !due {
		return fault
	}
	ctx, cancel := database.Within(ctx, pingLimit)
	defer cancel()
	config := pool.Config().ConnConfig
	err := state.way.find(ctx, config)
	if err == nil {
		var conn *pgx.Conn
		if conn, err = open(ctx, config, state.way.want); err == nil {
			err = conn.Close(ctx)
		}
	}
	state.note(err)
	return err
}
