package outcrier_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/outcrier/outcrier"
)

// A node says at its start when others can read along between it and Postgres.
func TestNode_WarnsOfAWayToPostgresThatIsNotSafe(t *testing.T) {
	for url, want := range map[string]bool{
		"postgres://u:secret@db.invalid/x?connect_timeout=1":                     true,
		"postgres://u:secret@db.invalid/x?connect_timeout=1&sslmode=require":     true,
		"postgres://u:secret@db.invalid/x?connect_timeout=1&sslmode=verify-full": false,
		"postgres://u:secret@127.0.0.1:1/x":                                      false,
	} {
		var log bytes.Buffer
		newNode(t, outcrier.Config{DatabaseURL: url, Open: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if strings.Contains(log.String(), "sslmode=verify-full") != want || strings.Contains(log.String(), "secret@") {
			t.Errorf("%s: %s", url, log.String())
		}
	}
}
