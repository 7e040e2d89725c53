package main

import (
	"time"

	"github.com/outcrier/outcrier/internal/duration"
)

// parseDuration reads the duration of a setting.
func parseDuration(text string) (time.Duration, error) { return duration.Parse(text) }
