package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// bookmark keeps a tail's position in a file: a line with the position of the last answer
// whose events are all done, and a line with the id of each event since. So a tail that is
// killed at any moment repeats at most one event. A nil bookmark keeps nothing.
type bookmark struct {
	path     string
	position string // "" before the first answer
	done     map[string]bool
	file     *os.File // open to append ids
}

// openBookmark reads the file, if there is one.
func openBookmark(path string) (*bookmark, error) {
	b := &bookmark{path: path, done: map[string]bool{}}
	text, err := os.ReadFile(path) //nolint:gosec // G304: named by the user
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	if b.position = lines[0]; b.position == "" {
		return nil, fmt.Errorf("%s has no position: remove the file to begin where --from says", path)
	}
	for _, id := range lines[1 : len(lines)-1] { // after the last line break there is an id that was cut short, or nothing
		b.done[id] = true
	}
	return b, nil
}

// has reports whether an event was done before this tail began.
func (b *bookmark) has(id string) bool { return b != nil && b.done[id] }

// did notes that an event is done.
func (b *bookmark) did(id string) error {
	if b == nil || b.position == "" {
		return nil
	}
	if b.file == nil {
		var err error
		if b.file, err = os.OpenFile(b.path, os.O_WRONLY|os.O_APPEND, 0); err != nil {
			return err
		}
	}
	_, err := b.file.WriteString(id + "\n")
	return err
}

// move notes that all events up to a position are done. The file is replaced by a new one,
// so that it is whole whenever the machine stops.
func (b *bookmark) move(position string) error {
	if b == nil {
		return nil
	}
	next, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".new-*")
	if err != nil {
		return err
	}
	_, err = next.WriteString(position + "\n")
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = b.close()
	}
	if err == nil {
		err = os.Rename(next.Name(), b.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	b.position, b.done = position, map[string]bool{}
	return nil
}

func (b *bookmark) close() error {
	if b == nil || b.file == nil {
		return nil
	}
	file := b.file
	b.file = nil
	return file.Close()
}
