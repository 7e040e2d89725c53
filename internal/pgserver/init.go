//go:build unix

package pgserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	superuser    = "postgres"
	passwordFile = "password"
)

// cluster is the folder of what initdb makes, in data, and of the superuser's password. It is there as a whole or not
// at all.
func (s *Server) cluster() string { return filepath.Join(s.folder, "cluster") }

func (s *Server) data() string { return filepath.Join(s.cluster(), "data") }

// clusterVersion is the major version that the cluster was made by, 0 if there is none yet.
func (s *Server) clusterVersion() (int, error) {
	text, err := os.ReadFile(filepath.Join(s.data(), "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the databases: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read the version of the databases: %w", err)
	}
	return major, nil
}

// makeCluster makes the cluster: as a copy of one that was stored, or with initdb when it is to be kept, and as a copy of
// a template when not.
func (s *Server) makeCluster(ctx context.Context) error {
	if s.from != "" {
		return s.copyCluster(ctx, s.from)
	}
	if s.temporary {
		err := s.copyTemplate(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.log.Debug("no template for a temporary postgres", "err", err)
	}
	return atomically(s.cluster(), func(dir string) error {
		return initialise(ctx, s.binaries, s.account, dir, !s.temporary)
	})
}

// copyTemplate copies the cluster from a template that all temporary servers of this Postgres and user share, which
// takes a tenth of the time of initdb.
func (s *Server) copyTemplate(ctx context.Context) error {
	cache, err := cacheFolder()
	if err != nil {
		return err
	}
	key := sha256.Sum256(fmt.Append(nil, s.binaries, s.account.name, throwAwayAuth, initdbArgs))
	template := filepath.Join(cache, fmt.Sprintf("template-%d-%x", s.binaries.major, key[:6]))
	err = once(ctx, template, func(dir string) error {
		return initialise(ctx, s.binaries, s.account, dir, false)
	})
	if err != nil {
		return err
	}
	return s.copyCluster(ctx, template)
}

// copyCluster makes the cluster as a copy of another.
func (s *Server) copyCluster(ctx context.Context, from string) error {
	return atomically(s.cluster(), func(dir string) error {
		if err := copyFolder(ctx, from, dir); err != nil {
			return err
		}
		return s.account.own(dir)
	})
}

// copyFolder copies the contents of a folder, with their owners, into another that is there.
func copyFolder(ctx context.Context, from, to string) error {
	out, err := account{}.command(ctx, "cp", "-Rp", from+"/.", to).CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// Cached returns a folder of this name in the cache, which all runs of this user share. Where it is not there, build
// fills it; one that fails leaves nothing.
func Cached(ctx context.Context, name string, build func(dir string) error) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	target := filepath.Join(cache, name)
	return target, once(ctx, target, build)
}

// once makes the folder target with build, unless it is there. When others want it too, it waits for the one that is at it.
func once(ctx context.Context, target string, build func(dir string) error) error {
	for {
		if _, err := os.Stat(target); err == nil {
			return nil
		}
		file, err := lock(target + ".lock")
		if errors.As(err, new(heldError)) {
			select {
			case <-time.After(20 * time.Millisecond):
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := os.Stat(target); err == nil {
			return nil
		}
		return atomically(target, build)
	}
}

// A throw-away server asks for passwords by MD5: they are random, and SCRAM costs a client that runs under the race
// detector 20 ms for each of the thousands of connections that tests make.
const (
	keptAuth      = "--auth=scram-sha-256"
	throwAwayAuth = "--auth=md5"
)

// initdbArgs fix what would otherwise follow from the environment.
var initdbArgs = []string{
	"--username=" + superuser, "--encoding=UTF8", "--locale=C", "--no-instructions",
}

// initLimit is how long initdb may take; with a slow disk the most of it is the sync at its end.
const initLimit = 2 * time.Minute

// initialise makes a cluster in an empty folder. The end of ctx does not interrupt it: that
// would leave shared memory that nothing frees, and macOS has only 32 segments. It takes a
// second.
func initialise(ctx context.Context, bin binaries, who account, dir string, kept bool) error {
	password := filepath.Join(dir, passwordFile)
	if err := os.WriteFile(password, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	if err := errors.Join(who.own(password), who.own(dir)); err != nil {
		return err
	}
	args := append([]string{"--pgdata=" + filepath.Join(dir, "data"), "--pwfile=" + password}, initdbArgs...)
	if kept {
		args = append(args, keptAuth)
	} else {
		args = append(args, throwAwayAuth, "--no-sync")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), initLimit)
	defer cancel()
	out, err := who.command(ctx, filepath.Join(bin.folder, "initdb"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLines(out))
	}
	return nil
}
