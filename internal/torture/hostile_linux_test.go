package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestHostile_ReadersCostBoundedMemoryAndTheirStreams (P7): readers who take nothing,
// or a byte now and then, or vanish, are ended; until then they cost no more than
// others, though far more is sent than could be kept for each; and readers that read
// receive everything. It runs alone: what a busy node has not sent yet is in its memory.
func TestHostile_ReadersCostBoundedMemoryAndTheirStreams(t *testing.T) {
	const (
		each   = 100 // of each kind
		events = 1500
		size   = 8 << 10
		// Kept for each who does not read, it would be thirty times this.
		bound = 64 << 20
	)
	server := startPostgres(t)
	f := newFieldOf(t, []string{plain(t)}, server.URL(""), 1, "--metrics", "open")
	n := f.nodes[0]
	good := &reader{name: "good", filter: everything(), byPayload: map[payload]int{}, steady: new(atomic.Bool)}
	f.follow(good, true)
	f.recover("the start", testkit.Deadline)
	before := residentMemory(t, n)

	ctx, stop := context.WithCancel(t.Context())
	vanish, stopVanishing := context.WithCancel(ctx)
	var vanishing sync.WaitGroup
	var hostile []net.Conn
	defer func() {
		stop()
		for _, conn := range hostile {
			conn.Close()
		}
		vanishing.Wait()
	}()
	for i := range each {
		hostile = append(hostile, dialMute(t, n), dialMute(t, n))
		drip := hostile[2*i]
		vanishing.Go(func() { // a byte now and then
			for one := make([]byte, 1); ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
				_ = drip.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := drip.Read(one); err != nil {
					return
				}
			}
		})
		vanishing.Go(func() {
			for vanish.Err() == nil {
				if conn := dialMute(t, n); conn != nil {
					conn.Close()
				}
				pause(vanish, 100*time.Millisecond)
			}
		})
	}
	most := int64(0)
	for i := range events / 50 {
		execute(t, f.url, fmt.Sprintf(`INSERT INTO outbox (topic, type, payload)
			SELECT 'torture/0/0', 'torture.happened', json_build_object('k', 'large', 'n', n, 'padding', repeat('x', %d)) FROM generate_series(%d, %d) AS n`, size, i*50+1, i*50+50))
		most = max(most, residentMemory(t, n))
	}
	// The good one has all while the others hang on.
	f.recover("beside hostile readers", testkit.Deadline)
	stopVanishing() // new streams take the processors from those that are to end
	// A reader that begins to read before it has stalled is slow, and not hostile.
	stalled := 0.0
	for since := time.Now(); stalled < 2*each; testkit.Pause(since) {
		most = max(most, residentMemory(t, n))
		if now := n.metric(t, `outcrier_streams_ended_total{reason="stalled"}`); now > stalled {
			stalled, since = now, time.Now()
		}
		if time.Since(since) > testkit.Deadline {
			t.Fatalf("of %d readers that take nothing or next to nothing %v have stalled, and no more within %v", 2*each, stalled, testkit.Deadline)
		}
	}
	stop()
	for i, conn := range hostile {
		// The contents of the kernel's buffers arrive, and then the end.
		_ = conn.SetReadDeadline(time.Now().Add(60 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("hostile reader %d is kept", i)
		}
	}
	most = max(most, residentMemory(t, n))
	t.Logf("%d hostile readers, %d MB sent to each who reads: %d MB before, %d MB at most", 3*each, events*size>>20, before>>20, most>>20)
	if most-before > bound {
		t.Errorf("memory grew from %d to %d MB, want at most %d MB more", before>>20, most>>20, bound>>20)
	}
	execute(t, f.url, `INSERT INTO outbox (topic, type) VALUES ('`+endTopic+`', 'torture.ended')`)
	giveUp := time.AfterFunc(30*time.Second, f.stopReading)
	f.readingDone.Wait()
	giveUp.Stop()
	if len(good.byPayload) != events || len(good.faults) > 0 || !good.ended {
		t.Errorf("the good reader was given %d of %d events, the end: %t; %q", len(good.byPayload), events, good.ended, good.faults)
	}
}

// dialMute asks for a stream, and reads nothing of it.
func dialMute(t *testing.T, n *process) net.Conn {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", n.listen)
	if err != nil {
		t.Error(err)
		return nil
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	_, err = fmt.Fprintf(conn, "GET /events?topic=torture/** HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if err != nil {
		t.Error(err)
	}
	return conn
}

// metric is the value of one of a node's metrics.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	response, err := http.Get(p.url + "/metrics")
	must(t, err)
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
			value, err := strconv.ParseFloat(text, 64)
			must(t, err)
			return value
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// residentMemory is what a node holds, in bytes.
func residentMemory(t *testing.T, n *process) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	must(t, err)
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kB, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	must(t, err)
	return kB << 10
}
