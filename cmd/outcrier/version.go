package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/outcrier/outcrier/migrations"
)

// versionConfig is the settings of "outcrier version".
type versionConfig struct {
	JSON bool `scope:"version" name:"json" help:"print one JSON object instead"`
}

func (*versionConfig) check(*report) {}

func (versionConfig) logger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// built is what this program was built from.
type built struct {
	Version string `json:"version"`
	// Commit is empty where the builder had no checkout; one with changes on top ends with
	// "-dirty".
	Commit string `json:"commit,omitempty"`
	// Date is the commit's (RFC 3339).
	Date     string `json:"date,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Schema is the version of the schema that this program migrates to, and needs at least.
	Schema int64 `json:"schema"`
}

func builtFrom() built {
	b := built{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Schema: migrations.Newest()}
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return b
	}
	dirty := ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Date = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if b.Commit != "" {
		b.Commit += dirty
	}
	return b
}

// String has a line for each.
func (b built) String() string {
	text := "outcrier " + b.Version + "\n"
	if b.Commit != "" {
		text += "commit   " + b.Commit + " of " + b.Date + "\n"
	}
	return text + fmt.Sprintf("go       %s %s\nschema   %d\n", b.Go, b.Platform, b.Schema)
}

func (c versionConfig) Run(_ context.Context, p process) error {
	if c.JSON {
		return json.NewEncoder(p.stdout).Encode(builtFrom())
	}
	_, err := io.WriteString(p.stdout, builtFrom().String())
	return err
}
