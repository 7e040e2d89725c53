package torture

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// finding has the results of a fault, over all the times that it was injected.
type finding struct {
	fault string
	// times is how often it was injected.
	times int
	// flying are the events committed from the injection until all readers were back,
	// given how often a reader received one of them.
	flying, given int
	// lost and repeated are those of them that a reader missed or had twice.
	lost, repeated int
	// gaps were reported to readers; there must be none where history did not change.
	gaps int
	// silence is the longest between two events of a reader, recovery the longest
	// from the end of the fault until every reader had an event appended then,
	// and bound the time that this may take.
	silence, recovery, bound time.Duration
}

// findings are those of all tests of this run.
var findings report

type report struct {
	mu    sync.Mutex
	found []finding
	seeds []string
}

// add puts a finding to the others of its fault.
func (r *report) add(f finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.found, func(other finding) bool { return other.fault == f.fault })
	if i < 0 {
		r.found = append(r.found, f)
		return
	}
	sum := &r.found[i]
	sum.times += f.times
	sum.flying += f.flying
	sum.given += f.given
	sum.lost += f.lost
	sum.repeated += f.repeated
	sum.gaps += f.gaps
	sum.silence = max(sum.silence, f.silence)
	sum.recovery = max(sum.recovery, f.recovery)
	sum.bound = max(sum.bound, f.bound)
}

const tableHead = "| fault | injected | events in flight | given | lost | repeated | gaps told | longest silence | recovery | at most |\n" +
	"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"

func (f finding) String() string {
	seconds := func(d time.Duration) string {
		if d == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %s | %s | %s |\n",
		f.fault, f.times, f.flying, f.given, f.lost, f.repeated, f.gaps, seconds(f.silence), seconds(f.recovery), seconds(f.bound))
}

// The table is between these in the document.
const (
	reportBegin = "<!-- faults: written by make faults -->\n"
	reportEnd   = "<!-- end of faults -->\n"
)

// write replaces the table in a document.
func (r *report) write(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(reportBegin))
	_, after, closed := bytes.Cut(rest, []byte(reportEnd))
	if !found || !closed {
		return errors.New(file + " has no " + strings.TrimSpace(reportBegin) + " before " + strings.TrimSpace(reportEnd))
	}
	var table strings.Builder
	table.WriteString(reportBegin + tableHead)
	total := finding{fault: "**all**"}
	slices.SortStableFunc(r.found, func(a, b finding) int { return cmp.Compare(a.fault, b.fault) })
	for _, f := range r.found {
		table.WriteString(f.String())
		total.times += f.times
		total.flying += f.flying
		total.given += f.given
		total.lost += f.lost
		total.repeated += f.repeated
		total.gaps += f.gaps
		total.silence = max(total.silence, f.silence)
		total.recovery = max(total.recovery, f.recovery)
	}
	table.WriteString(total.String())
	fmt.Fprintf(&table, "\nOn %s, %d processors, %s. Seeds: %s.\n", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), strings.Join(r.seeds, ", "))
	table.WriteString(reportEnd)
	return os.WriteFile(file, slices.Concat(before, []byte(table.String()), after), 0o644)
}

func TestReport_ReplacesItsTableAndNothingElse(t *testing.T) {
	file := t.TempDir() + "/report.md"
	text := func() string {
		read, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(read)
	}
	if err := os.WriteFile(file, []byte("# Title\n\n"+reportBegin+"outdated\n"+reportEnd+"\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var r report
	r.add(finding{fault: "b", times: 1, flying: 10, lost: 1, silence: time.Second})
	r.add(finding{fault: "a", times: 2})
	r.add(finding{fault: "b", times: 1, flying: 5, repeated: 2, silence: time.Minute})
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	first := text()
	for _, want := range []string{"# Title\n\n" + reportBegin, "| b | 2 | 15 | 0 | 1 | 2 | 0 | 60.00 s | – | – |\n", "| **all** | 4 |", reportEnd + "\nmore\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is not in\n%s", want, first)
		}
	}
	if strings.Contains(first, "outdated") || strings.Index(first, "| a |") > strings.Index(first, "| b |") {
		t.Errorf("the old table, or another order:\n%s", first)
	}
	if err := r.write(file); err != nil || text() != first {
		t.Errorf("written again it is another: %v", err)
	}
	if err := os.WriteFile(file, []byte("# Title\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.write(file); err == nil {
		t.Error("a document without a place for the table is taken")
	}
}
