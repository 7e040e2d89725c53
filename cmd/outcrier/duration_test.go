package main

import (
	"testing"
	"time"
)

func TestConfig_TakesDays(t *testing.T) {
	got := mustLoad[serveConfig](t, []string{"OUTCRIER_TOPIC_RETENTION=presence/**=1d,cursor/*=5m"}, "--dev", "--retention", "30d")
	if got.Retention != 720*time.Hour || got.TopicRetention["presence/**"] != 24*time.Hour || got.TopicRetention["cursor/*"] != 5*time.Minute {
		t.Errorf("retention %v, %v", got.Retention, got.TopicRetention)
	}
}
