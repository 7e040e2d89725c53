package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/migrations"
)

func TestVersion_SaysWhatItWasBuiltFrom(t *testing.T) {
	long, short := runWith(t, nil, "version"), runWith(t, nil, "--version")
	if long.code != exitDone || long != short {
		t.Errorf("version %+v, --version %+v", long, short)
	}
	for _, want := range []string{"outcrier " + version(), runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, fmt.Sprintf("schema   %d\n", migrations.Newest())} {
		if !strings.Contains(long.stdout, want) {
			t.Errorf("%q lacks %q", long.stdout, want)
		}
	}
	var b built
	if got := runWith(t, nil, "version", "--json"); json.Unmarshal([]byte(got.stdout), &b) != nil || b != builtFrom() {
		t.Errorf("%+v", got)
	}
}

func TestBuilt_NamesTheCommit(t *testing.T) {
	b := built{Version: "v0.1.0", Commit: "abc-dirty", Date: "2026-11-30T00:00:00Z", Go: "go1.26.0", Platform: "linux/arm64", Schema: 10}
	want := "outcrier v0.1.0\ncommit   abc-dirty of 2026-11-30T00:00:00Z\ngo       go1.26.0 linux/arm64\nschema   10\n"
	if got := b.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
