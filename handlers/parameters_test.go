package handlers

import (
	"testing"
	"time"
)

// openapi.yaml asks for a "+" that is encoded, as the admin page sends it. One that was typed into an
// address comes with a blank, and is taken too.
func TestMoment_TakesABarePlus(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 21, 20, 30, 0, 0, time.UTC)
	for _, text := range []string{"2026-11-22T02:00:00+05:30", "2026-11-22T02:00:00 05:30"} {
		if got, err := moment("until", text); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"2026-11-22 02:00:00Z", "2026-11-22T02:00:00  05:30", "2026-11-22T02:00:00 "} {
		if got, err := moment("until", text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}
