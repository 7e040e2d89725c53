package units_test

import (
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/units"
)

func TestDuration_TakesDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "1d0h": 24 * time.Hour, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute,
	} {
		if got, err := units.Duration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "+1d", "1d-1h", "1dd", "1d 2h", "1h1d", "1e3d", "0x1d", "Infd", "NaNd", "106752d", "106751d999h", "seven"} {
		if got, err := units.Duration(text); err == nil {
			t.Errorf("%q is taken, as %v", text, got)
		}
	}
}

func TestBytes_TakesPowersOf1024(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "65536": 65536, "512KiB": 512 << 10, "4MiB": 4 << 20, "8GiB": 8 << 30} {
		if got, err := units.Bytes(text); err != nil || got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "-1KiB", "1.5MiB", "1kB", "1 KiB", "1KiBKiB", "9007199254740993GiB", "much"} {
		if got, err := units.Bytes(text); err == nil {
			t.Errorf("%q is taken, as %d", text, got)
		}
	}
}
