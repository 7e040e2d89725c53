//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// oldest is the first major version that Outcrier runs on.
const oldest = 15

// binEnv names the folder of binaries to use, whatever else is installed.
const binEnv = "OUTCRIER_PG_BIN"

// binaries is an installed Postgres.
type binaries struct {
	folder       string // has postgres and initdb
	version      string // as `postgres --version` prints it
	major, minor int
}

// installed lists the folders where Postgres may be, in no order that matters.
func installed(ctx context.Context) []string {
	folders := filepath.SplitList(os.Getenv("PATH"))
	if dir, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(dir)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian
		"/usr/pgsql-*/bin",          // RHEL
		"/usr/local/pgsql/bin",      // make install
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern)
		folders = append(folders, found...)
	}
	return folders
}

// locate chooses the Postgres to run: what binEnv names; else the newest in folders, of
// that major version unless it is 0; else what fetch gets, if it is not
// nil.
func locate(ctx context.Context, who account, folders []string,
	fetch func(ctx context.Context, major int) (string, error), major int,
) (binaries, error) {
	if major != 0 && major < oldest {
		return binaries{}, fmt.Errorf("databases in the data folder are of Postgres %d, and %d is the oldest supported: "+
			"choose another folder", major, oldest)
	}
	if dir := os.Getenv(binEnv); dir != "" {
		found, err := probe(ctx, who, dir)
		switch {
		case err != nil:
			return binaries{}, fmt.Errorf("look for Postgres in %s=%s: %w", binEnv, dir, err)
		case found.major < oldest:
			return binaries{}, fmt.Errorf("%s=%s has Postgres %d, and %d is the oldest supported", binEnv, dir, found.major, oldest)
		case major != 0 && found.major != major:
			return binaries{}, fmt.Errorf("databases in the data folder are of Postgres %d, but %s=%s has %d", major, binEnv, dir, found.major)
		}
		return found, nil
	}

	var best binaries
	seen := map[string]bool{}
	for _, dir := range folders {
		dir, err := home(dir)
		if err != nil || seen[dir] {
			continue
		}
		seen[dir] = true
		found, err := probe(ctx, who, dir)
		if err != nil || found.major < oldest || major != 0 && found.major != major {
			continue
		}
		if cmp.Or(cmp.Compare(found.major, best.major), cmp.Compare(found.minor, best.minor)) > 0 {
			best = found
		}
	}
	if best.folder != "" || ctx.Err() != nil {
		return best, context.Cause(ctx)
	}

	wanted := fmt.Sprintf("Postgres %d or later is", oldest)
	if major != 0 {
		wanted = fmt.Sprintf("Postgres %d, of which the databases in the data folder are, is", major)
	}
	missing := fmt.Errorf("%s not installed: apt-get install postgresql, dnf install postgresql-server, "+
		"brew install postgresql, or name the folder of its binaries in %s", wanted, binEnv)
	if fetch == nil {
		return binaries{}, missing
	}
	dir, err := fetch(ctx, major)
	if err == nil {
		best, err = probe(ctx, who, dir)
	}
	if err != nil {
		return binaries{}, fmt.Errorf("%w; %w", missing, err)
	}
	return best, nil
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)(?:\.(\d+))?`)

// home returns the folder that the links in dir lead to: where some of the binaries are linked, the others are missing.
func home(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		return "", errors.New("not an absolute path")
	}
	for _, name := range []string{"initdb", "postgres"} {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		dir = filepath.Dir(path)
	}
	return dir, nil
}

// probe asks the Postgres in dir for its version, as the account, who must be able to execute it.
func probe(ctx context.Context, who account, dir string) (binaries, error) {
	dir, err := home(dir)
	if err != nil {
		return binaries{}, err
	}
	version, err := who.command(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("ask postgres for its version: %w", err)
	}
	match := versionPattern.FindSubmatch(version)
	if match == nil {
		return binaries{}, fmt.Errorf("ask postgres for its version: it says %q", version)
	}
	found := binaries{folder: dir, version: strings.TrimSpace(string(version))}
	found.major, _ = strconv.Atoi(string(match[1]))
	found.minor, _ = strconv.Atoi(string(match[2])) // none in 18beta1
	return found, nil
}
