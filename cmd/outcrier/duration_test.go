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
}
