package eventsource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// TestSource_ComesBackUntilItIsTurnedAway: an end and a break are followed by a
// request with the last id; any other answer than a stream is the end.
func TestSource_ComesBackUntilItIsTurnedAway(t *testing.T) {
	for _, last := range []struct {
		status int
		media  string
	}{
		{http.StatusNoContent, "text/event-stream"},
		{http.StatusBadGateway, "text/event-stream"},
		{http.StatusServiceUnavailable, "text/html"},
		{http.StatusOK, "text/html"},
		{http.StatusOK, ""},
	} {
		var ids []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ids = append(ids, r.Header.Get("Last-Event-ID"))
			if len(ids) == 4 {
				w.Header()["Content-Type"] = []string{last.media}
				w.WriteHeader(last.status)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
			fmt.Fprintf(w, "retry: 1\ndata: x\nid: %d\n\ndata: never\nid: 99\n", len(ids))
			if len(ids) == 2 {
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}))
		var got []string
		source := Source{URL: server.URL, Retry: time.Millisecond, Event: func(e Event) { got = append(got, e.ID) }}
		err := source.Run(t.Context())
		server.Close()
		var failed *FailedError
		if !errors.As(err, &failed) || failed.Status != last.status {
			t.Errorf("after %d with %q it ended with %v", last.status, last.media, err)
		}
		if want := []string{"1", "2", "3"}; !slices.Equal(got, want) || !slices.Equal(ids, append([]string{""}, want...)) {
			t.Errorf("events with the ids %q, requests with %q", got, ids)
		}
		if source.Opened() != 3 || source.Ended() != 2 || source.Broken() != 1 {
			t.Errorf("%d opened, %d ended, %d broke off", source.Opened(), source.Ended(), source.Broken())
		}
	}
}

func TestSource_ComesBackFromANetworkError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := (&Source{URL: "http://127.0.0.1:1/", Retry: time.Millisecond}).Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v, want to be stopped", err)
	}
}
