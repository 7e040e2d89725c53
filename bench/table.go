package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for a reader, a figure a line.
func (r *Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "Postgres %s, fsync %s, synchronous_commit %s; %d CPUs", r.Machine.Postgres, r.Machine.Fsync, r.Machine.SynchronousCommit, r.Machine.CPUs)
	if us := r.Machine.SyncMicroseconds; us > 0 {
		fmt.Fprintf(w, "; fdatasync %s µs", number(us))
	}
	if us := r.Machine.SyncDelayMicroseconds; us > 0 {
		fmt.Fprintf(w, " and %s µs on top", number(us))
	}
	fmt.Fprint(w, "\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "measure\tvariant\tfigure\tmedian\trange\tratio\taim\tdeliveries\tlost\trepeated")
	var notes []string
	for _, f := range r.Figures {
		middle, spread := "-", "-"
		if len(f.Runs) > 0 {
			middle, spread = number(f.Median), number(f.Least)+" – "+number(f.Most)
		}
		if f.Note != "" {
			notes = append(notes, fmt.Sprintf("%s, %s, %s: %s", f.Measure, f.Variant, f.Name, f.Note))
			middle += fmt.Sprintf(" [%d]", len(notes))
		}
		ratio := "-"
		if f.Ratio != nil && len(f.Ratio.Runs) > 0 {
			ratio = fmt.Sprintf("%.2f (%.2f – %.2f)", f.Ratio.Median, f.Ratio.Least, f.Ratio.Most)
		}
		deliveries, lost, repeated := "-", "-", "-"
		if f.Count != nil {
			deliveries, lost, repeated = number(float64(f.Count.Deliveries)), number(float64(f.Count.Lost)), number(float64(f.Count.Repeated))
		}
		fmt.Fprintln(table, strings.Join([]string{f.Measure, f.Variant, f.Name + ", " + f.Unit, middle, spread, ratio, f.aimText(), deliveries, lost, repeated}, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, note := range notes {
		fmt.Fprintf(w, "[%d] %s\n", i+1, note)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "%s ended early: %s\n", f.Measure, f.Error)
	}
	_, err := fmt.Fprintf(w, "\n%s deliveries, %s lost, %s repeated\n", number(float64(r.Total.Deliveries)), number(float64(r.Total.Lost)), number(float64(r.Total.Repeated)))
	return err
}

// aimText names what the aim is of where the figure has a ratio.
func (f Figure) aimText() string {
	switch {
	case f.Aim == nil:
		return "-"
	case f.Ratio != nil:
		return fmt.Sprintf("ratio %s %s", f.Aim.Bound, number(f.Aim.Value))
	}
	return fmt.Sprintf("%s %s", f.Aim.Bound, number(f.Aim.Value))
}

// number writes three digits at least, and thousands apart.
func number(v float64) string {
	switch size := math.Abs(v); {
	case v == math.Trunc(v) && size < 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Abs(v), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if v < 0 {
		return "-" + digits
	}
	return digits
}
