package main

import (
	"bytes"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often a file is looked at, if it is used.
const lookEvery = time.Second

// rereadFile is the content of a file, which is read again when it changes. While the file
// is not valid, the previous content stays.
type rereadFile[T any] struct {
	name  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	mu     sync.Mutex
	looked time.Time // when the file was last looked at
	text   []byte
	value  T
	logged string // the fault that was logged last
}

func (f *rereadFile[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.text != nil && now.Sub(f.looked) < lookEvery {
		return f.value, nil
	}
	f.looked = now
	text, err := os.ReadFile(f.name)
	if err == nil && f.text != nil && bytes.Equal(text, f.text) {
		return f.value, nil
	}
	var value T
	if err == nil {
		value, err = f.parse(text)
	}
	switch {
	case err == nil:
		f.text, f.value, f.logged = text, value, ""
	case f.text == nil:
		return f.value, err
	case err.Error() != f.logged:
		f.logged = err.Error()
		f.log.Warn("file can't be read, its previous content stays in use", "file", f.name, "err", err, "retry_in", lookEvery)
	}
	return f.value, nil
}
