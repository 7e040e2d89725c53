package torture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// verdict is what became of a series once all that has to fill up first has: the
// medians of the first, the middle and the last third of the rest, and the highest.
type verdict struct {
	measure
	start, middle, end, most float64
	grows                    bool
}

// verdicts judges each series from a time on, or if that is past the half, from the
// half on.
func (a *samples) verdicts(settled time.Duration) []verdict {
	if len(a.at) == 0 {
		return nil
	}
	from := slices.IndexFunc(a.at, func(at time.Duration) bool { return at >= min(settled, a.at[len(a.at)-1]/2) })
	var all []verdict
	for _, m := range a.measures {
		all = append(all, m.judge(a.values[m.key][from:]))
	}
	return all
}

func (m measure) judge(values []float64) verdict {
	third := max(1, len(values)/3)
	v := verdict{
		measure: m,
		start:   median(values[:third]),
		middle:  median(values[third:max(third+1, len(values)-third)]),
		end:     median(values[len(values)-third:]),
		most:    slices.Max(values),
	}
	v.grows = (m.share > 0 || m.slack > 0) && v.end > v.start*(1+m.share)+m.slack
	return v
}

// median is that of all values but NaN.
func median(values []float64) float64 {
	values = slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func (v verdict) word() string {
	if v.grows {
		return "**grows**"
	}
	return "flat"
}

func (v verdict) String() string {
	return fmt.Sprintf("%-38s %12s %12s %12s %12s  %s", v.title, v.unit.text(v.start), v.unit.text(v.middle), v.unit.text(v.end), v.unit.text(v.most), v.word())
}

// text writes a value for people.
func (u unit) text(value float64) string {
	switch {
	case math.IsNaN(value):
		return "–"
	case u == inBytes && value >= 1e9:
		return fmt.Sprintf("%.2f GB", value/1e9)
	case u == inBytes && value >= 1e6:
		return fmt.Sprintf("%.1f MB", value/1e6)
	case u == inBytes:
		return fmt.Sprintf("%.0f kB", value/1e3)
	case u == inSeconds:
		return fmt.Sprintf("%.2f s", value)
	case u == inPercent:
		return fmt.Sprintf("%.1f %%", value)
	case value >= 10_000:
		return fmt.Sprintf("%.1f k", value/1000)
	}
	return fmt.Sprintf("%.0f", value)
}

// document is docs/soak.md.
func (s *soak) document(taken *samples, verdicts []verdict) []byte {
	var b strings.Builder
	of := func(seconds int) string { return brief(s.paced(time.Duration(seconds) * time.Second)) }
	inEnglish := message.NewPrinter(language.English) // 9,956,373
	b.WriteString(inEnglish.Sprintf(`# The soak

%s of everyday load, by `+"`make soak SOAK=%s`"+`: nothing was lost, nothing came twice, and nothing grew.

![The series of the soak, over time](soak.svg)

What goes on all the time, on one machine with two nodes that stay and a Postgres with its own settings, autovacuum included:

- **Streams**: %d, each open for %s to %s. Three of four come back by `+"`Last-Event-ID`"+`, at any node, within %s or up to %s;
  the others leave for good, and new ones come. Some read too slowly, some poll, some follow patterns, some everything.
- **Writers**: about %d events a second of 100 B to 20 kB, in transactions of 1 to 100; a tenth are rolled back; two sessions
  hold theirs open for %s to %s; dedup keys, `+"`deliver_at`"+`, `+"`COPY`"+`, `+"`POST /events`"+`.
- **Topics**: %d at a time, a new one every 2 s in place of the oldest.
- **Nodes**: a third one lives for %s to %s, ends by SIGTERM or one time in four by kill -9, and comes back.
- **Retention**: events are removed at the age of %s, dedup keys and records of removals too. So each series has its
  height after %s, and is judged from then on.

In all %d transactions, %d rolled back, %d events given to %d readers over %d resumes and %d polls, %d nodes ended and %d killed.
The events that each reader received are compared with those committed between its first position and its last: **%d lost, %d twice**.

*Start*, *middle* and *end* are medians of the thirds, *most* is the highest sample. A series grows when its end is above its start
by more than a share of it and a constant, both of them small (%s).

| series | start | middle | end | most | |
|---|--:|--:|--:|--:|---|
`,
		brief(s.lasts), brief(s.lasts), s.streams, of(1), of(120), of(5), of(40), s.rate, of(10), of(60), activeTopics, of(30), of(60),
		brief(s.keep), brief(s.settled()),
		s.transactions.Load(), s.rolledBack.Load(), s.given.Load(), s.ended.Load(), s.resumes.Load(), s.polls.Load(), s.drains, s.kills,
		s.lost.Load(), s.repeated.Load(), "for memory 10 % and 12 MB"))
	for _, v := range verdicts {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", v.title, v.unit.text(v.start), v.unit.text(v.middle), v.unit.text(v.end), v.unit.text(v.most), v.word())
	}
	fmt.Fprintf(&b, "\nOn %s, %d processors, %s, a sample every %s.\n", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), brief(s.sampling()))
	return []byte(b.String())
}

// brief writes a duration without its zero parts.
func brief(d time.Duration) string {
	return strings.Replace(strings.Replace(d.String(), "m0s", "m", 1), "h0m", "h", 1)
}

// An hour's soak goes at the pace that its document states.
func TestSoak_AnHourHasItsPace(t *testing.T) {
	for lasts, want := range map[time.Duration]float64{time.Hour: 1, 3 * time.Hour: 1, 10 * time.Minute: 0.2} {
		var s soak
		if s.lasting(lasts); s.pace != want || s.sampling() != s.paced(10*time.Second) {
			t.Errorf("%s: pace %v, a sample every %s", lasts, s.pace, s.sampling())
		}
	}
}

func TestSoak_JudgesWhatGrows(t *testing.T) {
	m := measure{title: "memory", unit: inBytes, share: 0.1, slack: 1 * megabyte}
	chance := rand.New(rand.NewPCG(1, 2))
	series := func(of func(i int) float64) *samples {
		a := &samples{measures: []measure{m}, values: map[string][]float64{}}
		for i := range 360 {
			a.at = append(a.at, time.Duration(i)*10*time.Second)
			a.values[m.key] = append(a.values[m.key], of(i))
		}
		return a
	}
	for name, c := range map[string]struct {
		grows bool
		of    func(i int) float64
	}{
		"flat":                      {false, func(int) float64 { return 50 * megabyte }},
		"noise":                     {false, func(int) float64 { return 50*megabyte + chance.NormFloat64()*5*megabyte }},
		"a saw":                     {false, func(i int) float64 { return float64(50+i%30) * megabyte }},
		"filling up at first":       {false, func(i int) float64 { return float64(min(i, 50)) * megabyte }},
		"one spike":                 {false, func(i int) float64 { return float64(50+1000*(i/350)) * megabyte }},
		"shrinking":                 {false, func(i int) float64 { return float64(500-i) * megabyte }},
		"a leak":                    {true, func(i int) float64 { return float64(50)*megabyte + float64(i)*0.05*megabyte }},
		"a leak beneath noise":      {true, func(i int) float64 { return (50 + float64(i)*0.1 + chance.NormFloat64()*5) * megabyte }},
		"a step after the half":     {true, func(i int) float64 { return float64(50+20*(i/200)) * megabyte }},
		"from nothing, and no more": {false, func(i int) float64 { return float64(i) * 1000 }},
	} {
		if v := series(c.of).verdicts(10 * time.Minute)[0]; v.grows != c.grows {
			t.Errorf("%s: it grows: %t, want %t: %v", name, v.grows, c.grows, v)
		}
	}
}

func TestSoak_ComparesWhatWasOwedAndGiven(t *testing.T) {
	for _, c := range []struct{ owed, given, lost, repeated, extra []int64 }{
		{nil, nil, nil, nil, nil},
		{[]int64{1, 2, 3}, []int64{1, 2, 3}, nil, nil, nil},
		{[]int64{1, 2, 3}, []int64{1, 3}, []int64{2}, nil, nil},
		{[]int64{1, 2, 3}, nil, []int64{1, 2, 3}, nil, nil},
		{[]int64{1, 2, 3}, []int64{1, 2, 2, 2, 3, 3}, nil, []int64{2, 2, 3}, nil},
		{[]int64{2}, []int64{1, 2, 3}, nil, nil, []int64{1, 3}},
		{[]int64{1, 4}, []int64{2, 2, 4}, []int64{1}, []int64{2}, []int64{2}},
	} {
		lost, repeated, extra := compare(c.owed, c.given)
		if !slices.Equal(lost, c.lost) || !slices.Equal(repeated, c.repeated) || !slices.Equal(extra, c.extra) {
			t.Errorf("owed %d, given %d: lost %d, twice %d, not owed %d", c.owed, c.given, lost, repeated, extra)
		}
	}
}
