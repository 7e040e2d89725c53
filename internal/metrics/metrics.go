// Package metrics turns what the parts of a node have counted into Prometheus
// metrics, at the moment they are asked for: nothing is counted here. What each
// metric means is in docs/metrics.md.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
	"github.com/outcrier/outcrier/sse"
)

// Sources are where the numbers come from. All but Audit are needed.
type Sources struct {
	Node, Version string
	Tail          func() tail.Status
	Streams       func() sse.Stats
	Refusals      *handlers.Refusals
	Traffic       *handlers.Traffic
	Pool          func() *pgxpool.Stat
	// Survey asks the database. It is called once in surveyEvery at most,
	// and its context ends after surveyPatience.
	Survey func(context.Context) (upkeep.Survey, error)
	// Audit may be nil.
	Audit func() audit.Stats
	// Keys is the state of the keys that verify tokens.
	Keys func() auth.Status
	Log  *slog.Logger
}

// The limits of asking the database, however often the metrics are read.
const (
	surveyEvery    = 5 * time.Second
	surveyPatience = 2 * time.Second
)

// Handler answers with all metrics, those of the Go runtime and of the process
// included, in the text format or OpenMetrics.
func Handler(s Sources) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{Sources: s},
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: logger{s.Log}, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
}

// logger is promhttp's.
type logger struct{ *slog.Logger }

func (l logger) Println(v ...any) { l.Warn("metrics not written", "err", v) }

// collector is unchecked: it describes no metrics ahead, since it has some of them only
// while the database answers.
type collector struct {
	Sources
	surveyed
}

func (c *collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	w := writer{ch}
	w.gauge("build_info", "A constant 1, by version and node.", 1, "version", c.Version, "go", runtime.Version(), "node", c.Node)
	w.tail(c.Tail())
	w.streams(c.Streams())
	w.routes(c.Refusals, c.Traffic)
	w.pool(c.Pool())
	if c.Audit != nil {
		recorder := c.Audit()
		w.gauge("audit_waiting_streams", "Streams that have ended and are not recorded yet.", float64(recorder.Waiting))
		w.counter("audit_dropped_streams_total", "Streams whose end was not recorded.", recorder.Dropped)
	}
	w.keys(c.Keys())
	survey, err := c.survey(c.Sources)
	w.flag("database_answers", "1 when the database answered the questions of this scrape.", err == nil)
	if err == nil {
		w.survey(survey)
	}
}

// writer writes metrics by name.
type writer struct{ ch chan<- prometheus.Metric }

func (w writer) write(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	desc := prometheus.NewDesc("outcrier_"+name, help, names, nil)
	w.ch <- prometheus.MustNewConstMetric(desc, kind, value, values...)
}

// gauge takes labels as pairs of name and value, as the others do.
func (w writer) gauge(name, help string, value float64, labels ...string) {
	w.write(prometheus.GaugeValue, name, help, value, labels)
}

func (w writer) counter(name, help string, value int64, labels ...string) {
	w.write(prometheus.CounterValue, name, help, float64(value), labels)
}

func (w writer) flag(name, help string, is bool, labels ...string) {
	value := 0.
	if is {
		value = 1
	}
	w.gauge(name, help, value, labels...)
}

func (w writer) histogram(name, help string, d tail.Durations) {
	var count uint64
	buckets := map[float64]uint64{}
	for i, bound := range tail.DurationBounds() {
		count += uint64(d.Counts[i])
		buckets[bound.Seconds()] = count
	}
	count += uint64(d.Counts[len(d.Counts)-1])
	desc := prometheus.NewDesc("outcrier_"+name, help, nil, nil)
	w.ch <- prometheus.MustNewConstHistogram(desc, count, d.Sum.Seconds(), buckets)
}
