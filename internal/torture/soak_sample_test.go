package torture

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// measure is a figure that is taken again and again.
type measure struct {
	key, title string
	unit       unit
	// panel is the title of the panel of the graph that it is drawn in, "" for
	// none.
	panel string
	// share and slack are how much more it may be at the end than at first, of
	// itself and in its unit. Both 0: it may be anything.
	share, slack float64
}

type unit string

const (
	inBytes   unit = "bytes"
	inSeconds unit = "seconds"
	inNumber  unit = "number"
	inPercent unit = "percent"
	perSecond unit = "per second"
)

const megabyte = 1 << 20

// samples are the figures of a soak.
type samples struct {
	soak     *soak
	measures []measure
	at       []time.Duration // since the soak began
	values   map[string][]float64
	began    time.Time
	tables   []string // other than that of events
	before   map[string]float64
}

func newSamples(t *testing.T, s *soak) *samples {
	t.Helper()
	all := &samples{soak: s, values: map[string][]float64{}, began: time.Now()}
	for _, n := range []string{"A", "B"} {
		key := strings.ToLower(n)
		all.measures = append(all.measures,
			measure{key + "_rss", "node " + n + ": resident memory", inBytes, "Resident memory", 0.1, 12 * megabyte},
			measure{key + "_heap", "node " + n + ": Go heap in use", inBytes, "Go heap in use", 0.1, 8 * megabyte},
			measure{key + "_goroutines", "node " + n + ": goroutines", inNumber, "Goroutines", 0.1, 20},
			measure{key + "_fds", "node " + n + ": file descriptors", inNumber, "File descriptors", 0.15, 40},
			measure{key + "_streams", "node " + n + ": streams and polls open", inNumber, "Streams open", 0.15, 40},
			measure{key + "_ring", "node " + n + ": the replay buffer", inBytes, "The replay buffer", 0.1, megabyte},
			measure{key + "_cpu", "node " + n + ": CPU, of one core", inPercent, "CPU, of one core", 0.3, 3},
			measure{key + "_lag", "node " + n + ": lag of the tail", inSeconds, "Lag of the tail", 0.1, 0.1},
		)
	}
	all.measures = append(all.measures,
		measure{"events_heap", "events: rows", inBytes, "The table of events", 0.1, 8 * megabyte},
		measure{"events_indexes", "events: indexes", inBytes, "The table of events", 0.1, 8 * megabyte},
		measure{"events_live", "events: kept", inNumber, "Events kept", 0.1, 1000},
		measure{"events_dead", "events: dead rows", inNumber, "Dead rows", 0.5, 5000},
		measure{"other_dead", "the other tables: dead rows", inNumber, "Dead rows", 0.5, 5000},
		measure{"other_tables", "the other tables and their indexes", inBytes, "The other tables", 0.15, megabyte},
	)
	conn, err := connect(t.Context(), s.url)
	must(t, err)
	defer conn.Close(context.Background())
	result, _ := conn.Query(t.Context(), `SELECT relname FROM pg_class AS c WHERE relkind = 'r' AND relnamespace = 'outcrier'::regnamespace AND NOT relispartition
		AND relname <> 'schema_migration' ORDER BY relname`)
	all.tables, err = pgx.CollectRows(result, pgx.RowTo[string])
	must(t, err)
	for _, table := range all.tables {
		all.measures = append(all.measures, measure{table, table + ", with indexes", inBytes, "", 0.15, megabyte / 2})
	}
	all.measures = append(all.measures,
		measure{"database", "all of the database", inBytes, "All of the database", 0.1, 16 * megabyte},
		measure{"wal", "WAL written a second", inBytes, "WAL written a second", 0.25, megabyte / 4},
		measure{"pg_wal", "the folder pg_wal", inBytes, "The folder pg_wal", 0.15, 64 * megabyte},
		measure{"connections", "connections to Postgres", inNumber, "Connections to Postgres", 0.1, 5},
		measure{"given", "events given to readers", perSecond, "Events given to readers", 0.3, 100},
		measure{"silence", "longest silence of a stream", inSeconds, "Longest silence of a stream", 0.5, 2},
		measure{"lost", "events lost", inNumber, "", 0, 0.5},
		measure{"repeated", "events given twice", inNumber, "", 0, 0.5},
	)
	return all
}

// take takes a sample every 10 s, or more often where all goes faster, until ctx
// ends. What can't be had is not a number.
func (a *samples) take(ctx context.Context) {
	every := a.soak.sampling()
	for pause(ctx, every); ctx.Err() == nil; pause(ctx, every) {
		a.one()
	}
}

func (a *samples) one() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	at := time.Since(a.began)
	now := map[string]float64{}
	totals := map[string]float64{"given": float64(a.soak.given.Load())}
	for i, n := range a.soak.nodes {
		if err := ofNode(ctx, n.url, string(rune('a'+i)), now, totals); err != nil {
			a.soak.t.Errorf("sample a node: %v", err)
		}
	}
	if err := a.ofPostgres(ctx, now, totals); err != nil {
		a.soak.t.Errorf("sample Postgres: %v", err)
	}
	now["silence"] = time.Duration(a.soak.silence.Swap(0)).Seconds()
	now["lost"], now["repeated"] = float64(a.soak.lost.Load()), float64(a.soak.repeated.Load())
	if a.before != nil {
		passed := (at - a.at[len(a.at)-1]).Seconds()
		for key, total := range totals {
			now[key] = (total - a.before[key]) / passed
		}
		for _, key := range []string{"a_cpu", "b_cpu"} {
			now[key] *= 100
		}
	}
	a.before = totals
	a.at = append(a.at, at)
	for _, m := range a.measures {
		value, is := now[m.key]
		if !is {
			value = math.NaN()
		}
		a.values[m.key] = append(a.values[m.key], value)
	}
}

// ofNode reads a node's metrics.
func ofNode(ctx context.Context, base, key string, now, totals map[string]float64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_resident_memory_bytes":
			now[key+"_rss"] = value
		case "go_memstats_heap_inuse_bytes":
			now[key+"_heap"] = value
		case "go_goroutines":
			now[key+"_goroutines"] = value
		case "process_open_fds":
			now[key+"_fds"] = value
		case "process_cpu_seconds_total":
			totals[key+"_cpu"] = value
		case "outcrier_streams_open":
			now[key+"_streams"] = value
		case "outcrier_replay_buffer_bytes":
			now[key+"_ring"] = value
		case "outcrier_tail_lag_seconds":
			now[key+"_lag"] = value
		}
	}
	return nil
}

// ofPostgres asks Postgres about itself.
func (a *samples) ofPostgres(ctx context.Context, now, totals map[string]float64) error {
	conn, err := connect(ctx, a.soak.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	result, err := conn.Query(ctx, `SELECT 'events_heap', sum(pg_table_size(inhrelid))::float8 FROM pg_inherits WHERE inhparent = 'outcrier.event'::regclass
		UNION ALL SELECT 'events_indexes', sum(pg_indexes_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'outcrier.event'::regclass
		UNION ALL SELECT 'events_live', sum(n_live_tup) FROM pg_stat_user_tables WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outcrier.event'::regclass)
		UNION ALL SELECT 'events_dead', sum(n_dead_tup) FROM pg_stat_user_tables WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outcrier.event'::regclass)
		UNION ALL SELECT 'other_dead', sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'outcrier' AND relname = ANY ($1)
		UNION ALL SELECT 'other_tables', sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE schemaname = 'outcrier' AND relname = ANY ($1)
		UNION ALL SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables WHERE schemaname = 'outcrier' AND relname = ANY ($1)
		UNION ALL SELECT 'database', pg_database_size(current_database())
		UNION ALL SELECT 'total wal', pg_current_wal_lsn() - '0/0'
		UNION ALL SELECT 'pg_wal', sum(size) FROM pg_ls_waldir()
		UNION ALL SELECT 'connections', count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'`, a.tables)
	if err != nil {
		return err
	}
	for result.Next() {
		var key string
		var value float64
		if err := result.Scan(&key, &value); err != nil {
			return err
		}
		if key, is := strings.CutPrefix(key, "total "); is {
			totals[key] = value
			continue
		}
		now[key] = value
	}
	return result.Err()
}

// complete fails the test where a series has no figures.
func (a *samples) complete(t *testing.T) {
	t.Helper()
	if len(a.at) < 3 {
		t.Errorf("only %d samples were taken", len(a.at))
		return
	}
	for _, m := range a.measures {
		// A rate begins with the second sample.
		for i, value := range a.values[m.key][1:] {
			if math.IsNaN(value) || value < 0 {
				t.Errorf("%s: sample %d is %v", m.title, i+1, value)
				break
			}
		}
	}
}

// csv has a line for each sample, with the seconds since the start before the series.
func (a *samples) csv() []byte {
	var b bytes.Buffer
	b.WriteString("seconds")
	for _, m := range a.measures {
		b.WriteString("," + m.key)
	}
	for i, at := range a.at {
		fmt.Fprintf(&b, "\n%.1f", at.Seconds())
		for _, m := range a.measures {
			b.WriteByte(',')
			if value := a.values[m.key][i]; !math.IsNaN(value) {
				fmt.Fprintf(&b, "%.6g", value)
			}
		}
	}
	b.WriteByte('\n')
	return b.Bytes()
}
