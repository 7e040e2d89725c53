package audit

import "time"

// About is what a node says of itself every few seconds.
type About struct {
	Version string `json:"version"`
	// Settings are those that matter to who runs it, by the name of the flag.
	Settings map[string]string `json:"settings"`
	// Samples are the last ten minutes, the oldest first.
	Samples []Sample `json:"samples"`
	// Slow are streams whose readers don't keep up, the worst first, 20 at most.
	Slow []SlowStream `json:"slow"`
}

// Sample is the state of a node at one moment.
type Sample struct {
	At time.Time `json:"at"`
	// Events is how many events per second the tail has read since the sample
	// before, at whatever node they were appended.
	Events float64 `json:"events_per_s"`
	// Streams are open.
	Streams int `json:"streams"`
	// Lag is for how long the tail has not followed, in seconds.
	Lag float64 `json:"lag_s"`
}

// SlowStream is a stream whose reader does not keep up.
type SlowStream struct {
	Stream int64 `json:"stream"`
	// For is how long ago its reader last took something.
	For float64 `json:"for_s"`
}
