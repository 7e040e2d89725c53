package main

import (
	"testing"
	"time"
)

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
