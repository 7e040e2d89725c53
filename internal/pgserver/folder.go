//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// DefaultData is the folder of this user for databases to keep: /var/lib/outcrier/<name> for root, else below
// $XDG_DATA_HOME, or what the system has in its place. It is not made. It fails when there is no home directory.
func DefaultData(name string) (string, error) {
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/outcrier", name), nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "outcrier", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a data folder for %q: %w", name, err)
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library/Application Support/outcrier", name), nil
	}
	return filepath.Join(home, ".local/share/outcrier", name), nil
}

// cacheFolder holds files that can be made again: downloads and the template. Root's own would be closed to the account that
// Postgres runs as.
func cacheFolder() (string, error) {
	dir := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	dir = filepath.Join(dir, "outcrier")
	return dir, os.MkdirAll(dir, 0o755)
}

// takeFolder makes the folder if needed and locks it.
func (s *Server) takeFolder() error {
	var err error
	if s.folder == "" {
		s.temporary = true
		parent := "" // the system's
		if s.memory {
			parent = MemoryFolder()
		}
		s.folder, err = os.MkdirTemp(parent, "outcrier-pg-")
	} else if s.folder, err = filepath.Abs(s.folder); err == nil {
		err = os.MkdirAll(s.folder, 0o711)
	}
	if err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(s.folder, "PG_VERSION")); err == nil {
		return fmt.Errorf("data folder %s belongs to another Postgres: choose another folder", s.folder)
	}

	s.lock, err = lock(filepath.Join(s.folder, "lock"))
	var held heldError
	if errors.As(err, &held) {
		return fmt.Errorf("data folder %s is in use by process %d: end it, or choose another folder by --data", s.folder, held.pid)
	}
	if err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	err = os.Rename(s.LogFile(), s.LogFile()+".1")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("put the last log aside: %w", err)
	}
	return nil
}

// heldError says which process holds a lock.
type heldError struct{ pid int }

func (e heldError) Error() string { return fmt.Sprintf("locked by process %d", e.pid) }

// lock locks the file at path, which it makes and leaves, until the file is closed or this process dies. It does not
// wait: a lock of another is a heldError.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		if err = file.Truncate(0); err == nil {
			_, err = file.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
		}
	} else if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(string(holder))
		err = heldError{pid}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// atomically has build fill a temporary folder next to target and renames it to target, so
// that target is always complete. It removes the remains of an earlier attempt: the caller
// holds a lock.
func atomically(target string, build func(dir string) error) error {
	parent, prefix := filepath.Dir(target), filepath.Base(target)+".new-"
	siblings, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, sibling := range siblings {
		if strings.HasPrefix(sibling.Name(), prefix) {
			os.RemoveAll(filepath.Join(parent, sibling.Name()))
		}
	}

	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return err
	}
	if err = build(dir); err == nil {
		err = os.Rename(dir, target)
	}
	if err != nil {
		os.RemoveAll(dir)
	}
	return err
}
