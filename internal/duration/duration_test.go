package duration_test

import (
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/duration"
)

func TestParse_TakesDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "1d0h": 24 * time.Hour, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute,
	} {
		if got, err := duration.Parse(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "+1d", "1d-1h", "1dd", "1d 2h", "1h1d", "1e3d", "0x1d", "Infd", "NaNd", "106752d", "106751d999h", "seven"} {
		if got, err := duration.Parse(text); err == nil {
			t.Errorf("%q is taken, as %v", text, got)
		}
	}
}
