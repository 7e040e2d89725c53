package main

import (
	"math"
	"slices"
	"time"
)

// Report is what a bench has found. Its JSON is an interface: fields are added,
// never renamed; Format rises when one changes its meaning.
type Report struct {
	Format  int       `json:"format"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	// Run is the name under which the events were appended: topics begin with
	// "bench/", it and "/".
	Run     string   `json:"run"`
	Machine Machine  `json:"machine"`
	Server  Subject  `json:"server"`
	Sizes   Sizes    `json:"sizes"`
	Figures []Figure `json:"figures"`
	// Total is of all measures.
	Total Count `json:"total"`
	// Failures are the measures that could not be ended.
	Failures []Failure `json:"failures"`
}

// Machine is what the figures depend on.
type Machine struct {
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	CPUs     int    `json:"cpus"`
	Postgres string `json:"postgres"`
	// Fsync and SynchronousCommit are Postgres's settings: with either off,
	// writers do not wait for the disk.
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
	// SyncMicroseconds is the time of one fdatasync after a small append, in the
	// temporary folder of this machine; 0 when Postgres runs elsewhere.
	SyncMicroseconds float64 `json:"sync_us,omitempty"`
	// SyncDelayMicroseconds is what each sync of the private Postgres takes
	// longer.
	SyncDelayMicroseconds float64 `json:"sync_delay_us,omitempty"`
}

// Subject is the server that is measured.
type Subject struct {
	URL string `json:"url"`
	// PID is 0 when it is not known.
	PID int `json:"pid,omitempty"`
	// Own says that the bench has started it, with the defaults of its settings.
	Own bool `json:"own"`
}

// Figure is one figure of a measure, one value a run.
type Figure struct {
	Measure string `json:"measure"`
	// Variant tells figures of one measure apart, like "1000 streams, paced".
	Variant string `json:"variant"`
	// Name is the measured quantity, like "deliveries per second".
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Runs   []float64 `json:"runs"`
	Median float64   `json:"median"`
	Least  float64   `json:"least"`
	Most   float64   `json:"most"`
	// Ratio is that to another variant, measured in the same runs.
	Ratio *Ratio `json:"ratio,omitempty"`
	Aim   *Aim   `json:"aim,omitempty"`
	// Count is of the deliveries that the figure stands on, which it may share
	// with others of its variant; null where no stream reads.
	Count *Count `json:"count"`
	// Note is what else has to be known, above all why there are no runs.
	Note string `json:"note,omitempty"`
}

// Ratio is a figure divided by another variant's, run by run.
type Ratio struct {
	To     string    `json:"to"`
	Runs   []float64 `json:"runs"`
	Median float64   `json:"median"`
	Least  float64   `json:"least"`
	Most   float64   `json:"most"`
}

// Aim is the design's for a figure's median, or for that of its ratio where it has one, on
// two CPUs shared by the bench and the server. It is no verdict on another machine.
type Aim struct {
	// Bound is "at most" or "at least".
	Bound string  `json:"bound"`
	Value float64 `json:"value"`
}

// Failure is why a measure has not all its figures.
type Failure struct {
	Measure string `json:"measure"`
	Error   string `json:"error"`
}

// Exact says that all measures ended, and that nothing was lost or repeated.
func (r *Report) Exact() bool {
	return len(r.Failures) == 0 && r.Total.Lost == 0 && r.Total.Repeated == 0
}

// add completes a figure from its runs. A run in which nothing came has no speed,
// and is left out with a note.
func (r *Report) add(f Figure) {
	all := len(f.Runs)
	f.Runs = finite(f.Runs)
	if len(f.Runs) < all {
		f.Note = "in some runs there was nothing to measure"
	}
	if len(f.Runs) > 0 {
		f.Median, f.Least, f.Most = median(f.Runs), slices.Min(f.Runs), slices.Max(f.Runs)
	}
	if ratio := f.Ratio; ratio != nil {
		ratio.Runs = finite(ratio.Runs)
		if len(ratio.Runs) > 0 {
			ratio.Median, ratio.Least, ratio.Most = median(ratio.Runs), slices.Min(ratio.Runs), slices.Max(ratio.Runs)
		}
	}
	r.Figures = append(r.Figures, f)
}

// finite returns the finite values. It is never nil.
func finite(values []float64) []float64 {
	found := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			found = append(found, v)
		}
	}
	return found
}
