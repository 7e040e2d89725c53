//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// account is whom initdb and postgres run as: both refuse root.
type account struct {
	name string
	id   *syscall.Credential // nil: this process' own user
}

// accountFor chooses the account: our own, unless we are root. Then it is the one that the cluster belongs to, for
// Postgres accepts no other; before there is a cluster, it is postgres or nobody.
func accountFor(cluster string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	info, err := os.Stat(cluster)
	if err == nil {
		owner := info.Sys().(*syscall.Stat_t).Uid
		u, err := user.LookupId(strconv.FormatUint(uint64(owner), 10))
		if err != nil {
			return account{}, fmt.Errorf("look up the owner of %s: %w", cluster, err)
		}
		return newAccount(u)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return account{}, err
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return account{}, fmt.Errorf("find a user for postgres, which refuses root: %w", err)
	}
	return newAccount(u)
}

func newAccount(u *user.User) (account, error) {
	groups, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("list the groups of user %s: %w", u.Username, err)
	}
	ids := make([]uint32, 0, 2+len(groups))
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseInt(text, 10, 64) // macOS: nobody is -2
		if err != nil {
			return account{}, fmt.Errorf("read the ids of user %s: %w", u.Username, err)
		}
		ids = append(ids, uint32(id))
	}
	return account{u.Username, &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}}, nil
}

// command is a command that runs as the account, in a process group of its own: Ctrl-C in a terminal reaches us alone.
// The end of ctx ends the group. Our environment stays with us: it may hold secrets, and PG… variables.
func (a account) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // G702: who sets OUTCRIER_PG_BIN can run what he likes anyway
	cmd.Dir = "/"
	cmd.Env = []string{
		"LC_ALL=C", "TZ=UTC",
		"PATH=" + os.Getenv("PATH") + ":/usr/bin:/bin",
		"LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH"), // for a Postgres that was built by hand
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: a.id}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// own gives a file that we made to the account.
func (a account) own(path string) error {
	if a.id == nil {
		return nil
	}
	return os.Lchown(path, int(a.id.Uid), int(a.id.Gid))
}

// reach checks that the account can enter dir. It asks the system, which knows of access lists and the like.
func (a account) reach(ctx context.Context, dir string) error {
	enter := func(dir string) bool { return a.command(ctx, "/bin/sh", "-c", `cd "$0"`, dir).Run() == nil }
	if a.id == nil || enter(dir) {
		return nil
	}
	for parent := filepath.Dir(dir); parent != dir && !enter(parent); parent = filepath.Dir(dir) {
		dir = parent
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("user %s, as whom Postgres runs because it refuses root, may not enter %s: "+
		"open that folder (chmod o+x) or keep the data elsewhere", a.name, dir)
}
