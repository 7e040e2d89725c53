package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestDoctor_ExitCodesAreForScripts(t *testing.T) {
	url := outboxtest.URL(t)
	if got := runWith(t, nil, "doctor", "--database-url", url); got.code != exitDone || !strings.Contains(got.stdout, "0 errors") || strings.Contains(got.stdout, "\x1b") {
		t.Errorf("a healthy one: %+v", got)
	}
	token := mint(t, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"public/**"}})
	got := runWith(t, []string{"OUTCRIER_TOKEN=" + token}, "doctor", "--json", "--database-url", url, "--jwt-secret", strings.Repeat("x", 32))
	var report struct {
		Healthy  bool
		Findings []struct{ Check, Severity, Text, Remedy string }
	}
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != exitFailed || report.Healthy {
		t.Fatalf("with a bad token: %v, %+v", err, got)
	}
	if last := report.Findings[len(report.Findings)-1]; last.Check != "token" || last.Severity != "error" || last.Remedy == "" || !strings.Contains(last.Text, "signature") {
		t.Errorf("%+v", last)
	}
	if strings.Contains(got.stdout, token[len(token)-20:]) {
		t.Error("it prints the token")
	}
	// The error has two lines.
	if got := runWith(t, nil, "doctor", "--database-url", "postgres://x@127.0.0.1:1/x"); got.code != exitFailed || !strings.Contains(got.stdout, "refused") || strings.ContainsRune(got.stdout, unicode.ReplacementChar) {
		t.Errorf("of a database that is not there: %+v", got)
	}
	if got := runWith(t, nil, "doctor"); got.code != exitMistake || !strings.Contains(got.stderr, "or --url, or --token") {
		t.Errorf("of nothing: %+v", got)
	}
}
