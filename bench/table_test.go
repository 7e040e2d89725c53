package main

import (
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
)

func TestNumber_HasThreeDigitsAndThousandsApart(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", 999: "999", 0.5: "0.50", -0.25: "-0.25", 12.34: "12.3", 123.4: "123", 1000: "1,000", 1234567.8: "1,234,568", -1500: "-1,500",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestReport_PrintsAFigureBesideItsAim(t *testing.T) {
	var r Report
	r.add(Figure{Measure: "a", Runs: []float64{3, 1, 2}, Aim: &Aim{Bound: atMost, Value: 2}})
	r.add(Figure{Measure: "b", Runs: []float64{3, 1, 2}, Aim: &Aim{Bound: atLeast, Value: 2.5}})
	r.add(Figure{Measure: "c", Runs: []float64{10, 20}, Ratio: &Ratio{To: "x", Runs: []float64{0.8, 1}}, Aim: &Aim{Bound: atLeast, Value: 0.9}})
	r.add(Figure{Measure: "d", Aim: &Aim{Bound: atMost, Value: 2}, Note: "not measured: why", Count: &Count{5, 1, 2}})
	if f := r.Figures[0]; f.Median != 2 || f.Least != 1 || f.Most != 3 {
		t.Errorf("median %v of %v to %v, want 2 of 1 to 3", f.Median, f.Least, f.Most)
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"at most 2 ", "at least 2.50", "0.90 (0.80 – 1.00)  ratio at least 0.90", "[1] d, , : not measured: why"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "missed") {
		t.Errorf("the table passes a verdict on somebody's machine:\n%s", b.String())
	}
}

func TestReport_RunsWithoutAFigureAreLeftOut(t *testing.T) {
	var r Report
	r.add(Figure{Runs: []float64{math.NaN(), 3, math.Inf(1)}, Ratio: &Ratio{Runs: []float64{math.NaN()}}, Aim: &Aim{Bound: atMost, Value: 1}})
	r.add(Figure{Runs: []float64{math.NaN()}})
	if f := r.Figures[0]; len(f.Runs) != 1 || f.Median != 3 || f.Note == "" {
		t.Errorf("figure %+v, want one run and a note", f)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if err := r.WriteTable(io.Discard); err != nil {
		t.Error(err)
	}
}

func TestReport_IsExactOnlyWithoutLossRepeatAndFailure(t *testing.T) {
	for _, tt := range []struct {
		report Report
		want   bool
	}{
		{Report{Total: Count{Deliveries: 9}}, true},
		{Report{Total: Count{9, 1, 0}}, false},
		{Report{Total: Count{9, 0, 1}}, false},
		{Report{Failures: []Failure{{"idle", "why"}}}, false},
	} {
		if got := tt.report.Exact(); got != tt.want {
			t.Errorf("%+v is exact: %v", tt.report, got)
		}
	}
}
