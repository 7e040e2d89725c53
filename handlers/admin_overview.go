package handlers

import (
	"maps"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
)

// Overview is the answer to GET /admin/api/overview.
type Overview struct {
	admin.Overview
	// Node is the node that answers, and About its state.
	Node  string      `json:"node"`
	About audit.About `json:"about"`
	// Samples are the last ten minutes of all nodes that keep an audit, or else of this
	// one, the oldest first.
	Samples []audit.Sample `json:"samples"`
	// OpenHere is how many streams are open at this node.
	OpenHere int `json:"streams_here"`
	// Following and Listening are of its tail.
	Following bool `json:"following"`
	Listening bool `json:"listening"`
	// Audit reports whether it records its streams.
	Audit bool `json:"audit"`
	Whoami
}

// Whoami is the answer to GET /admin/api/identity, and part of the overview.
type Whoami struct {
	// Subject is the subject of the token; Expires is nil where no token is needed.
	Subject string     `json:"subject"`
	Expires *time.Time `json:"expires"`
	// Grants are those of admins that the identity has.
	Grants []auth.Grant `json:"grants"`
}

func newWhoami(who identity) Whoami {
	w := Whoami{Subject: who.Subject, Grants: who.granted()}
	if !who.Expires.IsZero() {
		w.Expires = &who.Expires
	}
	return w
}

// whoami is GET /admin/api/identity: with it the page hides actions that would be refused.
func (h *handlers) whoami(c echo.Context, who identity) error {
	_, err := queryOf(c)
	return h.answer(c, newWhoami(who), err)
}

func (h *handlers) overview(c echo.Context, who identity) (err error) {
	if _, err := queryOf(c); err != nil {
		return err
	}
	state, err := h.Admin.Overview(c.Request().Context())
	if err != nil {
		return err
	}
	// What a transaction runs may have the values of the events that it appends.
	if slices.ContainsFunc(state.Open, func(open admin.OpenTransaction) bool { return open.Query != nil }) {
		ended := h.noteRead(c, who)
		defer func() { ended(err) }()
	}
	tail := h.TailStatus()
	answer := Overview{
		Overview: state, Node: h.Streamer.Node, About: h.Sampler.About(), Following: tail.Following, Listening: tail.Listening,
		OpenHere: h.Streamer.Open(), Audit: h.Audit != nil, Whoami: newWhoami(who),
	}
	answer.Samples = mergeSamples(state.Nodes)
	if h.Audit == nil || len(answer.Samples) == 0 {
		answer.Samples = answer.About.Samples
	}
	return h.answer(c, answer, nil)
}

// mergeSamples puts the samples of several nodes into one row. Streams are added. Events are
// not, since each node reads every event, and of the lags the largest counts.
func mergeSamples(nodes []admin.Node) []audit.Sample {
	by := map[int64]audit.Sample{}
	for _, node := range nodes {
		if node.About == nil {
			continue
		}
		for _, s := range node.About.Samples {
			at := s.At.Unix()
			sum := by[at]
			by[at] = audit.Sample{At: s.At, Events: max(sum.Events, s.Events), Streams: sum.Streams + s.Streams, Lag: max(sum.Lag, s.Lag)}
		}
	}
	samples := slices.Collect(maps.Values(by))
	slices.SortFunc(samples, func(a, b audit.Sample) int { return a.At.Compare(b.At) })
	// The newest samples of some nodes may still be missing.
	if n := len(samples); n > 2 && len(nodes) > 1 {
		samples = samples[:n-1]
	}
	return samples
}
