package main

import (
	"testing"
	"time"
)

func TestParseDuration_TakesDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "1d0h": 24 * time.Hour, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "+1d", "1d-1h", "1dd", "1d 2h", "1h1d", "1e3d", "0x1d", "Infd", "NaNd", "106752d", "106751d999h", "seven"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is taken, as %v", text, got)
		}
	}
}

func TestConfig_TakesDays(t *testing.T) {
	got := mustLoad[serveConfig](t, []string{"OUTCRIER_RETAIN=presence/**=1d,cursor/*=5m"}, "--dev", "--retention", "30d")
	if got.Retention != 720*time.Hour || got.Retain["presence/**"] != 24*time.Hour || got.Retain["cursor/*"] != 5*time.Minute {
		t.Errorf("retention %v, %v", got.Retention, got.Retain)
	}
	for text, want := range map[string]string{"7d": "168h0m0s", "1h": "1h0m0s", "now": "now", "2026-11-22T02:00:00Z": "2026-11-22T02:00:00Z"} {
		if from := mustLoad[tailConfig](t, nil, "--url", "http://h", "--from", text).From; from != want {
			t.Errorf("--from %s asks a server for %s, want %s", text, from, want)
		}
	}
}
