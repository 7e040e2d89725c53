//go:build unix

// Package pgserver runs a private Postgres for the demo, serve --dev and the tests, from binaries that are installed.
//
// The server listens on 127.0.0.1 alone, without a Unix socket, on a free port; on a folder that it had before, on the
// port of last time unless that is taken. One superuser with a random password may log in. It dies with the process
// that started it, even when that one is killed. Started by root it runs as an ordinary user.
package pgserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stopLimit is how long a fast shutdown may take before an immediate one follows.
const stopLimit = 30 * time.Second

// Server is a running Postgres, or one that was stopped or killed and can be restarted. Stop, Kill and Restart must not
// be called at the same time; everything else may.
type Server struct {
	folder    string // holds cluster, lock and log
	temporary bool
	memory    bool
	from      string
	settings  map[string]string
	env       []string
	fetch     func(ctx context.Context, major int) (string, error)
	log       *slog.Logger

	lock     *os.File // held while the folder is ours
	account  account
	binaries binaries
	password string
	port     int
	process  *process // nil when Postgres does not run
}

// Start makes the databases if there are none, starts Postgres and returns when it accepts connections. It fails when
// no Postgres of 15 or later is found, when another process uses the data folder (the error names it), when
// the folder's databases are of a version that is not installed, and when Postgres does not come up within a minute (the
// error ends with its log). The caller must call Stop. Cancelling ctx ends the start, not the server.
func Start(ctx context.Context, config Config) (*Server, error) {
	s := &Server{folder: config.Data, memory: config.Memory, from: config.From, settings: config.Settings, env: config.Env, fetch: config.Fetch, log: config.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}

	err := s.open(ctx)
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("start a private postgres: %w", err)
	}
	return s, nil
}

// open locks the data folder and finds the programs and the account to run Postgres in it.
func (s *Server) open(ctx context.Context) error {
	if err := s.takeFolder(); err != nil {
		return err
	}

	var err error
	if s.account, err = accountFor(s.cluster()); err != nil {
		return err
	}
	if s.temporary { // the account removes it when we no longer can
		if err := s.account.own(s.folder); err != nil {
			return err
		}
	}
	if err := s.account.reach(ctx, s.folder); err != nil {
		return err
	}
	major, err := s.clusterVersion()
	if err != nil {
		return err
	}
	if s.binaries, err = locate(ctx, s.account, installed(ctx), s.fetch, major); err != nil {
		return err
	}
	if major == 0 {
		if err := s.makeCluster(ctx); err != nil {
			return err
		}
	}
	password, err := os.ReadFile(filepath.Join(s.cluster(), passwordFile))
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	s.password = strings.TrimSpace(string(password))
	return context.Cause(ctx)
}

// URL is the address of a database of this server, which need not exist yet; of the database postgres when the name is
// empty. It carries the superuser's password, suits pgx and `psql '…'`, and stays the same over restarts.
func (s *Server) URL(database string) string {
	if database == "" {
		database = superuser
	}
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     net.JoinHostPort(loopback, strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

// Bin is the folder of Postgres' binaries, for tests that run pgbench, pg_dump or pg_basebackup.
func (s *Server) Bin() string { return s.binaries.folder }

// LogFile is the path of Postgres' log since Start. The log of the run before is in the
// same folder, with ".1" at the end. Stop throws it away with a temporary folder.
func (s *Server) LogFile() string { return filepath.Join(s.folder, "postgres.log") }

// Stop shuts Postgres down, ending the sessions of its clients, and waits until all its
// processes are gone. Stop also releases the lock of a server that does not run, and
// removes its folder if that is temporary.
func (s *Server) Stop() error {
	if s.process == nil && s.temporary && s.lock != nil {
		// A killed Postgres leaves shared memory that only its next start on this folder
		// frees. That is no reason to fail: the folder is removed either way.
		if err := s.start(context.Background()); err != nil {
			s.log.Debug("shared memory of a killed postgres left behind", "err", err)
		}
	}
	err := s.halt()
	s.close()
	return err
}

// halt ends Postgres in an orderly way, if it runs.
func (s *Server) halt() error {
	if s.process == nil {
		return nil
	}
	p := s.process
	if err := p.stop(); err != nil {
		return fmt.Errorf("stop postgres (process %d): %w", p.pid(), err)
	}
	s.process = nil
	s.log.Info("private postgres stopped", "data", s.folder)
	return nil
}

// close gives the folder up. Postgres no longer runs.
func (s *Server) close() {
	if s.process != nil || s.lock == nil {
		return
	}
	if s.temporary {
		if err := os.RemoveAll(s.folder); err != nil {
			s.log.Warn("temporary postgres folder left behind", "data", s.folder, "err", err)
		}
	}
	s.lock.Close()
	s.lock = nil
}

// Store ends Postgres as Stop does, and copies its databases into an empty folder, for Config.From.
func (s *Server) Store(ctx context.Context, folder string) error {
	err := s.halt()
	if err == nil {
		err = copyFolder(ctx, s.cluster(), folder)
	}
	if err == nil {
		err = s.Stop()
	}
	if err != nil {
		return fmt.Errorf("store the databases of a private postgres: %w", err)
	}
	return nil
}

// Kill crashes the server: kill -9 for the postmaster and all backends at once. It returns when they are gone. The data
// stay, a temporary folder too, for Restart.
func (s *Server) Kill() error {
	if s.process == nil {
		return nil
	}
	p := s.process
	if err := p.kill(); err != nil {
		return fmt.Errorf("kill postgres (process %d): %w", p.pid(), err)
	}
	s.process = nil
	return nil
}

// Restart starts Postgres again on the same port and data, after Kill or Stop, or after it died by another hand; one
// that runs is stopped first. It fails as Start does, and when Stop has thrown the data away.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.restart(ctx); err != nil {
		return fmt.Errorf("restart the private postgres: %w", err)
	}
	return nil
}

func (s *Server) restart(ctx context.Context) error {
	if err := s.halt(); err != nil {
		return err
	}
	if s.lock == nil {
		if s.temporary {
			return fmt.Errorf("temporary data were thrown away by Stop")
		}
		if err := s.takeFolder(); err != nil {
			return err
		}
	}
	return s.start(ctx)
}
