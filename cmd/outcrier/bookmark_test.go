package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBookmark_KnowsWhatWasDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "at")
	open := func() *bookmark {
		t.Helper()
		b, err := openBookmark(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b := open()
	must(b.did("1")) // where it began is not known yet
	must(b.move("1.abc"))
	must(b.did("2"))
	must(b.did("3"))
	again := open() // as after kill -9: nothing was closed
	if again.position != "1.abc" || !again.has("2") || !again.has("3") || again.has("1") {
		t.Errorf("%+v", again)
	}
	must(b.move("3.def"))
	must(b.close())
	if again = open(); again.position != "3.def" || again.has("2") {
		t.Errorf("%+v", again)
	}
	// An id that was cut short is not one that was done.
	must(os.WriteFile(path, []byte("3.def\n41\n42"), 0o600))
	if again = open(); !again.has("41") || again.has("42") {
		t.Errorf("%+v", again)
	}
	must(os.WriteFile(path, nil, 0o600))
	if _, err := openBookmark(path); err == nil || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("an empty file: %v", err)
	}
	if left, _ := filepath.Glob(path + ".new-*"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}
