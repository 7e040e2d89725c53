package torture

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
)

// TestFault_RestoreFromBaseBackup: the same cluster, as it was a while ago.
func TestFault_RestoreFromBaseBackup(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	address := newNetwork(t, hostOf(t, server.URL("")))
	f := newField(t, at(t, server.URL(""), address.Address()), 2)
	f.prepare()
	var backup string
	f.loses("restore from a base backup", 15*time.Second, func() {}, func() { backup = copyOf(t, server, "") }, func() {
		must(t, server.Kill())
		restored := runPostgres(t, pgserver.Config{Data: backup, Settings: withSettings()})
		address.To(hostOf(t, restored.URL("")))
	})
}

// TestFault_RestoreFromDump: the rows in another cluster, where their xids mean
// nothing. Every position is of another history there.
func TestFault_RestoreFromDump(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	address := newNetwork(t, hostOf(t, server.URL("")))
	f := newField(t, at(t, server.URL(""), address.Address()), 2)
	f.prepare()
	dump := filepath.Join(t.TempDir(), "dump")
	f.anew = true
	f.loses("restore from a dump", 15*time.Second, func() {}, func() {
		run(t, tool(t, server, "pg_dump"), "-Fc", "-f", dump, server.URL(""))
	}, func() {
		must(t, server.Kill())
		other := runPostgres(t, pgserver.Config{Data: testkit.Folder(t), Settings: withSettings()})
		u, err := url.Parse(server.URL(""))
		must(t, err)
		password, _ := u.User.Password()
		execute(t, other.URL(""), `CREATE ROLE outcrier_writer`, `CREATE ROLE outcrier_reader`, `CREATE ROLE outcrier_server`, `CREATE ROLE outcrier_operator`, `CREATE ROLE outcrier_eraser`,
			`CREATE ROLE outcrier_two_phase`, `CREATE ROLE `+nodeRole+` LOGIN PASSWORD '`+nodeRole+`' IN ROLE outcrier_server`)
		run(t, tool(t, server, "pg_restore"), "--exit-on-error", "-d", other.URL(""), dump)
		execute(t, other.URL(""), `ALTER ROLE postgres PASSWORD '`+password+`'`)
		address.To(hostOf(t, other.URL("")))
	})
}

// run runs a program of Postgres.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=10")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.TrimPrefix(program, filepath.Dir(program)+"/"), err, out)
	}
}
