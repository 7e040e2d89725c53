package pgserver

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// downloadable is what there is to download, by major version.
var downloadable = map[int]embedded.PostgresVersion{
	15: embedded.V15, 16: embedded.V16, 17: embedded.V17, 18: embedded.V18,
}

// downloadLimit is long enough for 20 MB over a thin line.
const downloadLimit = 5 * time.Minute

// download gets a Postgres of a major version, the newest for 0, unless an earlier run did.
func download(ctx context.Context, who account, major int) (binaries, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, downloadLimit, fmt.Errorf("not done within %v", downloadLimit))
	defer cancel()
	cache, err := cacheFolder()
	if err != nil {
		return binaries{}, err
	}
	return downloadFrom(ctx, "https://repo1.maven.org/maven2", cache, who, major)
}

func downloadFrom(ctx context.Context, repository, cache string, who account, major int) (binaries, error) {
	if major == 0 {
		major = 18
	}
	version, ok := downloadable[major]
	if !ok {
		return binaries{}, fmt.Errorf("no Postgres %d to be had", major)
	}
	target := filepath.Join(cache, "postgres-"+string(version))
	err := once(ctx, target, func(dir string) error {
		// Its Start is all that the library exports, so it gets an encoding that makes initdb refuse: what counts is
		// whether it left binaries. It can't be cancelled, so it is left to itself when ctx ends; its folder goes with
		// the next attempt.
		done := make(chan error, 1)
		go func() {
			port, err := freePort(ctx)
			if err != nil {
				done <- err
				return
			}
			done <- embedded.NewDatabase(embedded.DefaultConfig().
				Version(version).
				BinaryRepositoryURL(repository).
				CachePath(filepath.Join(dir, "archive")).
				RuntimePath(filepath.Join(dir, "run")).
				BinariesPath(dir).
				Encoding("none").
				Port(uint32(port)).
				StartTimeout(time.Second).
				Logger(io.Discard)).
				Start()
		}()
		select {
		case err := <-done:
			if _, missing := os.Stat(filepath.Join(dir, "bin", "postgres")); missing != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		os.RemoveAll(filepath.Join(dir, "archive"))
		os.RemoveAll(filepath.Join(dir, "run"))
		return os.Chmod(dir, 0o755)
	})
	if err != nil {
		return binaries{}, err
	}
	return probe(ctx, who, filepath.Join(target, "bin"))
}
