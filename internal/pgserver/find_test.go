//go:build unix

package pgserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocate_SaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(binEnv, "")
	noNetwork := func(context.Context, int) (string, error) { return "", errors.New("no network") }
	_, err := locate(t.Context(), account{}, []string{t.TempDir()}, noNetwork, 0)
	wantError(t, err, "Postgres 15 or later", "apt-get install postgresql", "dnf install", "brew install", binEnv, "no network")
	_, err = locate(t.Context(), account{}, nil, nil, 17)
	wantError(t, err, "Postgres 17")
}

func TestLocate_FetchesWhereNothingIsInstalled(t *testing.T) {
	t.Setenv(binEnv, "")
	asked := -1
	there := fake(t, folder(t), "18.4")
	fetch := func(_ context.Context, major int) (string, error) {
		asked = major
		return there, nil
	}
	found, err := locate(t.Context(), account{}, []string{fake(t, folder(t), "17.1")}, fetch, 18)
	if err != nil || found.folder != there || asked != 18 {
		t.Errorf("asked for %d, found %v, %v", asked, found, err)
	}
	asked = -1
	if _, err := locate(t.Context(), account{}, []string{there}, fetch, 0); err != nil || asked != -1 {
		t.Errorf("asked for %d though one is installed: %v", asked, err)
	}
}

func TestLocate_NamedFolderWins(t *testing.T) {
	dir := folder(t)
	t.Setenv(binEnv, dir)
	_, err := Start(t.Context(), Config{})
	wantError(t, err, binEnv+"="+dir, "initdb")

	fake(t, dir, "16.3")
	found, err := locate(t.Context(), account{}, []string{fake(t, folder(t), "17.1")}, nil, 0)
	if err != nil || found.folder != dir {
		t.Errorf("found %v, %v; want the one in %s", found, err, dir)
	}
	_, err = locate(t.Context(), account{}, nil, nil, 15)
	wantError(t, err, "of Postgres 15", dir+" has 16")
	fake(t, dir, "14.9")
	_, err = locate(t.Context(), account{}, nil, nil, 0)
	wantError(t, err, "Postgres 14", "15 is the oldest")
}

func TestLocate_TakesNewest(t *testing.T) {
	t.Setenv(binEnv, "")
	var folders []string
	for _, version := range []string{"14.9", "17.2", "17.11 (Debian 17.11-1)", "17.9", "16.4"} {
		folders = append(folders, fake(t, folder(t), version))
	}
	for major, want := range map[int]string{0: folders[2], 16: folders[4]} {
		found, err := locate(t.Context(), account{}, folders, nil, major)
		if err != nil || found.folder != want {
			t.Errorf("for major version %d found %v, %v; want %s", major, found, err, want)
		}
	}
}

func TestStart_RefusesDataOfOtherVersion(t *testing.T) {
	data := folder(t)
	cluster := filepath.Join(data, "cluster", "data")
	if err := os.MkdirAll(cluster, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cluster, "PG_VERSION"), []byte("14\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Data: data})
	wantError(t, err, "of Postgres 14", "15 is the oldest")
	_, err = Start(t.Context(), Config{Data: cluster})
	wantError(t, err, "belongs to another Postgres")
}

// fake puts programs into dir that say they were Postgres.
func fake(t *testing.T, dir, version string) string {
	t.Helper()
	for _, name := range []string{"initdb", "postgres"} {
		script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error is %q, want it to say %q", err, part)
		}
	}
}
