package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
)

// attackSecret signs the tokens of the attacked.
const attackSecret = "correct horse battery staple, 32 bytes and more"

// attackMemory is what an attacked node has, as a small container has it.
const attackMemory = 512 << 20

// attacked is a node with default settings except for args, whose memory is limited to
// attackMemory, which it knows. It must survive every attack.
func attacked(t *testing.T, args ...string) (n *process, database string) {
	t.Helper()
	database = startPostgres(t).URL("")
	n = newProcessIn(t, []string{fmt.Sprintf("GOMEMLIMIT=%d", attackMemory/10*9)}, plain(t), database, append([]string{"--jwt-secret", attackSecret, "--metrics", "open", "--log-level", "info"}, args...)...)
	limit := unix.Rlimit{Cur: attackMemory, Max: attackMemory}
	if err := unix.Prlimit(n.cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil); err != nil {
		t.Fatal(err)
	}
	testkit.Within(t, "the node is ready", 60*time.Second, n.ready)
	t.Cleanup(func() {
		if t.Failed() || n.cmd == nil {
			return
		}
		if !n.answers() {
			t.Error("the node does not answer after the attack")
		}
		most := status(t, n, "VmHWM:")
		t.Logf("the node held %d MB at most", most>>20)
		if most > attackMemory {
			t.Errorf("the node held %d MB, want at most %d", most>>20, attackMemory>>20)
		}
	})
	return n, database
}

// status is a line of /proc/pid/status, in bytes.
func status(t *testing.T, n *process, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	must(t, err)
	_, after, _ := strings.Cut(string(text), name)
	kB, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	must(t, err)
	return kB << 10
}

func token(t *testing.T, claims auth.Claims) string {
	t.Helper()
	key, err := auth.ParseSecret([]byte(attackSecret))
	must(t, err)
	token, err := auth.Mint(key, claims, time.Hour)
	must(t, err)
	return token
}

// send sends a request and returns its status; 0 where there was no answer.
func send(ctx context.Context, method, url, token string, body io.Reader, header ...string) (code int, answer string) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// parallel calls fn n times at once, and counts its results.
func parallel(n int, fn func(i int) int) map[int]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	found := map[int]int{}
	for i := range n {
		all.Go(func() {
			code := fn(i)
			mu.Lock()
			defer mu.Unlock()
			found[code]++
		})
	}
	all.Wait()
	return found
}

// TestAttack_BodiesKillNoNode: bodies of 4 MiB that are millions of values, in parallel, by a
// token that may publish nothing, and by one that may: as arrays of numbers, of events with
// too many members or headers, nested without end, and good ones.
func TestAttack_BodiesKillNoNode(t *testing.T) {
	n, _ := attacked(t)
	reader := token(t, auth.Claims{Subject: "reader", Subscribe: []outbox.Pattern{"a"}})
	attacks := 0 // each has principals of its own, whose rates are unused
	publisher := func(i int) string {
		return token(t, auth.Claims{Subject: fmt.Sprint("publisher", attacks, "/", i), Publish: []outbox.Pattern{"a"}})
	}
	const senders = 16
	const size = 4<<20 - 1000
	fill := func(head, piece, tail string) []byte {
		return []byte(head + strings.Repeat(piece, (size-len(head)-len(tail))/len(piece)) + tail)
	}
	var members, headers []byte
	for i := int64(0); len(members) < size-1000; i++ {
		members = append(strconv.AppendInt(append(members, `"k`...), i, 10), `":0,`...)
		headers = append(strconv.AppendInt(append(headers, `"k`...), i, 10), `":"",`...)
	}
	numbers := fill("[", "0,", "0]")
	for _, attack := range []struct {
		name  string
		body  []byte
		token func(int) string
		want  []int
	}{
		{"numbers, without a grant", numbers, func(int) string { return reader }, []int{403}},
		{"numbers", numbers, publisher, []int{400, 429, 503}},
		{"events that are none", fill("[", `{"topic":"a","type":"t"},`, "0]"), publisher, []int{400, 429, 503}},
		{"members", fmt.Appendf(nil, `{%s"z":0}`, members), publisher, []int{400, 429, 503}},
		{"headers", fmt.Appendf(nil, `{"topic":"a","type":"t","headers":{%s"z":""}}`, headers[:size/2]), publisher, []int{400, 429, 503}},
		{"nested", fill("", "[", ""), publisher, []int{400, 422, 429, 503}},
		{"text", fill(`{"topic":"a","type":"t","payload":"`, "x", `"}`), publisher, []int{422, 429, 503}},
		{"good ones", fill(`[{"topic":"a","type":"t"}`, `,{"topic":"a","type":"t","payload":"`+strings.Repeat("x", 8000)+`"}`, "]"), publisher, []int{201, 429, 503}},
	} {
		for _, principals := range []int{1, senders} {
			if principals == 1 && attack.name != "numbers" && !testkit.Long() {
				continue // the bound of one token is the same for every body
			}
			attacks++
			found := parallel(senders, func(i int) int {
				code, _ := send(t.Context(), "POST", n.url+"/events", attack.token(i%principals), bytes.NewReader(attack.body))
				return code
			})
			t.Logf("%s, by %d: %v", attack.name, principals, found)
			delete(found, 0) // refused while it was sent, and so closed before the answer could be read
			if len(found) == 0 {
				t.Errorf("%s: none was answered, want %v", attack.name, attack.want)
			}
			for code := range found {
				if !slices.Contains(attack.want, code) {
					t.Errorf("%s: answered %d, want %v", attack.name, code, attack.want)
				}
			}
		}
	}
	if code, answer := send(t.Context(), "POST", n.url+"/events", publisher(99), strings.NewReader(`{"topic":"a","type":"t"}`)); code != 201 {
		t.Errorf("somebody else's event: %d %s", code, answer)
	}
}

// TestAttack_AnswersThatNobodyReadsAreNotKept: polls and single events over one HTTP/2
// connection with a window of 0, and over many HTTP/1.1 connections whose clients don't
// read.
func TestAttack_AnswersThatNobodyReadsAreNotKept(t *testing.T) {
	t.Parallel()
	n, database := attacked(t, "--h2c", "--gzip")
	const events, size = 40, 192_000
	execute(t, database, fmt.Sprintf(`INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat(md5(g::text), %d)) FROM generate_series(1, %d) AS g`, size/32, events))
	as := func(i int) string {
		return "Bearer " + token(t, auth.Claims{Subject: fmt.Sprint("reader", i), Subscribe: []outbox.Pattern{"a"}})
	}
	const poll = "/events?topic=a&from=earliest&limit=1000"
	const asked = 60
	type attack func(d *badnet.Deaf, i int) error
	// Each attack has a connection of its own.
	attempt := func(attacks map[string]attack) {
		connections := map[string]*badnet.Deaf{}
		for name, ask := range attacks {
			d, err := badnet.DialDeaf(t.Context(), n.listen)
			must(t, err)
			connections[name] = d
			for i := range asked {
				must(t, ask(d, i))
			}
		}
		for name, d := range connections {
			testkit.Within(t, name+": all have ended", 60*time.Second, func() bool { return d.Reset() == asked || d.Ended() })
			must(t, d.Close())
		}
	}
	// Polls one after the other: each is to have all the memory that there is for answers.
	for name, ask := range map[string]attack{
		"polls of one": func(d *badnet.Deaf, _ int) error {
			return d.Get(poll, "accept", "application/json", "authorization", as(0))
		},
		"polls of many": func(d *badnet.Deaf, i int) error {
			return d.Get(poll, "accept", "application/json", "authorization", as(i))
		},
		"compressed polls": func(d *badnet.Deaf, i int) error {
			return d.Get(poll, "accept", "application/json", "accept-encoding", "gzip", "authorization", as(i))
		},
	} {
		attempt(map[string]attack{name: ask})
	}
	attempt(map[string]attack{
		"single events": func(d *badnet.Deaf, i int) error {
			return d.Get("/events/"+strconv.Itoa(1+i%events), "authorization", as(i))
		},
		"without a token": func(d *badnet.Deaf, i int) error {
			return d.Get([]string{"/client.js", "/openapi.yaml", "/admin/static/app.js", "/x"}[i%4])
		},
		"metrics": func(d *badnet.Deaf, _ int) error { return d.Get("/metrics") },
		"catalogues": func(d *badnet.Deaf, i int) error {
			return d.Get("/catalogue", "authorization", as(i))
		},
		"problems as long as may be": func(d *badnet.Deaf, _ int) error { return d.Get("/" + strings.Repeat("<", 30_000)) },
	})
	var deaf []net.Conn
	defer func() {
		for _, conn := range deaf {
			conn.Close()
		}
	}()
	for i := range asked {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.listen)
		must(t, err)
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		deaf = append(deaf, conn)
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nAuthorization: %s\r\n\r\n", poll, as(i))
		must(t, err)
	}
	testkit.Within(t, "no poll is open", 60*time.Second, func() bool {
		return n.metric(t, `outcrier_readers{protocol="poll"}`) == 0
	})
	code, answer := send(t.Context(), "GET", n.url+poll, strings.TrimPrefix(as(0), "Bearer "), nil, "Accept", "application/json")
	if code != 200 || !strings.Contains(answer, `"id":"1"`) {
		t.Errorf("a poll that is read: %d %.100s", code, answer)
	}
	// Some 130 MB; more than 300 if the answers were kept.
	if most := status(t, n, "VmHWM:"); most > asked*events*size/2 {
		t.Errorf("the node held %d MB at most, for polls of %d MB together", most>>20, asked*events*size>>20)
	}
}

// TestAttack_LongRequestsAreNotKept: as many requests without a token as connections of HTTP/2
// take, each with a header as long as may be, whose answers nobody reads; and the same over
// HTTP/1.1 with answers of the metrics that nobody reads.
func TestAttack_LongRequestsAreNotKept(t *testing.T) {
	t.Parallel()
	n, _ := attacked(t, "--h2c")
	// An X is no shorter in HPACK's Huffman code, so none is computed: the memory is what counts.
	long := strings.Repeat("X", 60_000)
	const connections, requests = 30, 250
	var all sync.WaitGroup
	var deaf [connections]*badnet.Deaf
	for i := range deaf {
		d, err := badnet.DialDeaf(t.Context(), n.listen)
		must(t, err)
		deaf[i] = d
		defer d.Close()
		all.Go(func() {
			for range requests {
				if d.Get("/x", "x-long", long) != nil {
					return // the node has closed the connection, or is dead, which shows in the end
				}
			}
		})
	}
	all.Wait()
	testkit.Within(t, "all have ended", 2*time.Minute, func() bool {
		for _, d := range deaf {
			if d.Reset() < requests && !d.Ended() {
				return false
			}
		}
		return true
	})
	var mute []net.Conn
	defer func() {
		for _, conn := range mute {
			conn.Close()
		}
	}()
	for range 100 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.listen)
		must(t, err)
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		mute = append(mute, conn)
		_, err = io.WriteString(conn, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 20))
		must(t, err)
	}
	testkit.Within(t, "the metrics are answered", 2*time.Minute, func() bool {
		code, answer := send(t.Context(), "GET", n.url+"/metrics", "", nil)
		return code == 200 && strings.Contains(answer, "outcrier_build_info")
	})
}

// TestAttack_OpeningsFillNeitherLogNorAudit: streams, polls and single events, opened by one
// token as fast as it can.
func TestAttack_OpeningsFillNeitherLogNorAudit(t *testing.T) {
	n, database := attacked(t, "--audit")
	execute(t, database, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	reader := token(t, auth.Claims{Subject: "reader", Subscribe: []outbox.Pattern{"a"}})
	size := func() int64 {
		info, err := os.Stat(n.log)
		must(t, err)
		return info.Size()
	}
	before, began := size(), time.Now()
	const openings = 2000 // of 100 ms at most, 16 at a time: at the slowest, fewer than half may leave a trace
	var opened atomic.Int64
	parallel(16, func(i int) int {
		for opened.Add(1) <= openings {
			one, left := context.WithTimeout(t.Context(), 100*time.Millisecond)
			switch i % 3 {
			case 0:
				send(one, "GET", n.url+"/events?topic=a&from=earliest&wait=0", reader, nil, "Accept", "application/json")
			case 1:
				send(one, "GET", n.url+"/events?topic=a", reader, nil)
			default:
				send(one, "GET", n.url+"/events/1", reader, nil)
			}
			left()
		}
		return 0
	})
	// 200 at once, and 50 a second.
	most := int64(200 + 50*(time.Since(began).Seconds()+1))
	testkit.Eventually(t, "log and audit have come to an end", func() bool {
		return n.metric(t, `outcrier_readers{protocol="http1"}`) == 0 && n.metric(t, "outcrier_audit_waiting_streams") == 0
	})
	grown := size() - before
	conn, err := connect(t.Context(), database)
	must(t, err)
	defer conn.Close(context.Background())
	var recorded int64
	must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.stream`).Scan(&recorded))
	t.Logf("%d openings: %d bytes of log, %d records", openings, grown, recorded)
	if recorded > most || grown > 400*most {
		t.Errorf("%d records, and %d bytes of log, want at most %d and %d", recorded, grown, most, 400*most)
	}
}

// TestAttack_NobodyFillsTheDisk: large events, as many as one token gets in, and events for
// the year 2120.
func TestAttack_NobodyFillsTheDisk(t *testing.T) {
	n, database := attacked(t)
	publisher := token(t, auth.Claims{Subject: "publisher", Publish: []outbox.Pattern{"a"}})
	body := []byte(`[{"topic":"a","type":"t"}` + strings.Repeat(`,{"topic":"a","type":"t","payload":"`+strings.Repeat("x", 900_000)+`"}`, 4) + `]`)
	began := time.Now()
	var taken atomic.Bool
	parallel(8, func(int) int {
		for time.Since(began) < 2*time.Second || !taken.Load() && time.Since(began) < testkit.Deadline {
			if code, _ := send(t.Context(), "POST", n.url+"/events", publisher, bytes.NewReader(body)); code == 201 {
				taken.Store(true)
			} else {
				pause(t.Context(), 50*time.Millisecond)
			}
		}
		return 0
	})
	most := int64((4 << 20) * (time.Since(began).Seconds() + 2))
	conn, err := connect(t.Context(), database)
	must(t, err)
	defer conn.Close(context.Background())
	var stored int64
	must(t, conn.QueryRow(t.Context(), `SELECT coalesce(sum(octet_length(payload::text)), 0) FROM outcrier.event`).Scan(&stored))
	if stored > most || stored == 0 {
		t.Errorf("%d bytes are stored, want at most %d", stored, most)
	}
	late := token(t, auth.Claims{Subject: "late", Publish: []outbox.Pattern{"a"}})
	if code, answer := send(t.Context(), "POST", n.url+"/events", late, strings.NewReader(`{"topic":"a","type":"t","deliver_at":"2120-01-01T00:00:00Z"}`)); code != 422 || !strings.Contains(answer, "--schedule-ahead") {
		t.Errorf("an event for 2120: %d %s", code, answer)
	}
}

// TestAttack_OneTokenStarvesNobody: a hundred requests of one token at once, again and again. As
// streams they replay a few events of many topics, a pattern of no topic, everything, and a day; as
// long polls they ask for topics without events, as many as may be, for a type that no event has, and
// for patterns together. Meanwhile somebody else's replay comes to its end, and events are appended.
func TestAttack_OneTokenStarvesNobody(t *testing.T) {
	n, database := attacked(t)
	execute(t, database,
		`INSERT INTO outbox (topic, type) SELECT 'user/42/' || g, 't' FROM generate_series(1, 20) AS g`,
		// Past the view, whose triggers would take longer than the attack.
		`INSERT INTO outcrier.event (topic, type, payload) SELECT CASE WHEN g % 60 = 0 THEN 'honest' ELSE 'user/' || g % 5000 || '/x' END, 't', to_json(repeat('x', 200)) FROM generate_series(1, 120000) AS g`,
		`VACUUM ANALYZE outcrier.event`)
	var absent strings.Builder
	for i := range 200 {
		fmt.Fprintf(&absent, "topic=none/%d&", i)
	}
	starvesNobody(t, n, "text/event-stream", "topic=user/42/**&from=earliest", "topic=*/none&from=earliest", "topic=**&from=earliest", "topic=user/42/**&from=24h", "topic=**&last=1000")
	starvesNobody(t, n, "application/json", absent.String()+"from=earliest&wait=0", "topic=**&type=none&from=earliest&wait=0", "topic=user/*/none&topic=*/7/x&topic=user/1/**&from=24h&wait=0")
}

// starvesNobody has a hundred requests of one token ask for each query again and again, while
// somebody else reads and appends.
func starvesNobody(t *testing.T, n *process, accept string, queries ...string) {
	t.Helper()
	// Each has principals of its own, whose rates are unused.
	honest := token(t, auth.Claims{Subject: "honest " + accept, Subscribe: []outbox.Pattern{"honest"}, Publish: []outbox.Pattern{"b"}})
	greedy := token(t, auth.Claims{Subject: "greedy " + accept, Subscribe: []outbox.Pattern{"**"}})
	for _, query := range queries {
		ctx, cancel := context.WithCancel(t.Context())
		var streams sync.WaitGroup
		for range 100 {
			streams.Go(func() {
				for ctx.Err() == nil {
					one, left := context.WithTimeout(ctx, 5*time.Second)
					send(one, "GET", n.url+"/events?"+query, greedy, nil, "Accept", accept)
					left()
				}
			})
		}
		began := time.Now()
		after, got := "earliest", 0
		for got < 2000 {
			code, answer := send(t.Context(), "GET", n.url+"/events?topic=honest&wait=5s&limit=1000&from="+after, honest, nil, "Accept", "application/json")
			var page struct {
				Events   []json.RawMessage
				Position string
			}
			if code != 200 || json.Unmarshal([]byte(answer), &page) != nil || len(page.Events) == 0 {
				t.Fatalf("%.80s: %d of 2000 events, then %d %.200s", query, got, code, answer)
			}
			got, after = got+len(page.Events), page.Position
		}
		replayed := time.Since(began)
		code, answer := send(t.Context(), "POST", n.url+"/events", honest, strings.NewReader(`{"topic":"b","type":"t"}`))
		t.Logf("%.80s: 2000 events in %v, appended %v later", query, replayed, time.Since(began)-replayed)
		if code != 201 || time.Since(began) > 30*time.Second {
			t.Errorf("%.80s: appended with %d %s, after %v", query, code, answer, time.Since(began))
		}
		cancel()
		streams.Wait()
	}
}

// TestAttack_PayloadsThatNestWithoutEndAreRefused, by every way; and one that was
// loaded by hand hangs no client: polls, streams, outcrier tail and the admin's API
// deliver it and the events after it.
func TestAttack_PayloadsThatNestWithoutEndAreRefused(t *testing.T) {
	n, database := attacked(t)
	admin := token(t, auth.Claims{Subject: "admin", Subscribe: []outbox.Pattern{"a"}, Publish: []outbox.Pattern{"a"}, Admin: true})
	const levels = 9_998
	deep := strings.Repeat("[", levels) + strings.Repeat("]", levels)
	if code, answer := send(t.Context(), "POST", n.url+"/events", admin, strings.NewReader(`{"topic":"a","type":"t","payload":`+deep+`}`)); code != 422 || !strings.Contains(answer, "64") {
		t.Errorf("POST: %d %.200s", code, answer)
	}
	binary := plain(t)
	run := func(ctx context.Context, stdin string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(t.Context(), deep, "append", "--topic", "a", "--type", "t", "--database-url", database); err == nil || !strings.Contains(out, "64") {
		t.Errorf("outcrier append: %v %.300s", err, out)
	}
	conn, err := connect(t.Context(), database)
	must(t, err)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', $1)`, deep); err == nil || !strings.Contains(err.Error(), "64") {
		t.Errorf("INSERT: %.200v", err)
	}
	_, err = conn.Exec(t.Context(), `INSERT INTO outcrier.event (xid, topic, type, payload) VALUES ('5', 'a', 'loaded', $1)`, deep)
	must(t, err)
	_, err = conn.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) VALUES ('a', 'behind', '{"n":1}')`)
	must(t, err)
	testkit.Eventually(t, "a poll has both, with the tail's next read", func() bool {
		code, answer := send(t.Context(), "GET", n.url+"/events?topic=a&from=earliest&wait=0", admin, nil, "Accept", "application/json")
		return code == 200 && strings.Contains(answer, deep) && strings.Contains(answer, `"behind"`)
	})
	for _, path := range []string{"history", "history/1", "overview"} {
		if code, answer := send(t.Context(), "GET", n.url+"/admin/api/"+path, admin, nil); code != 200 || !json.Valid([]byte(answer)) {
			t.Errorf("/admin/api/%s: %d %.200s", path, code, answer)
		}
	}
	for _, format := range []string{"text", "cloudevents"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		var out testkit.Log
		cmd := exec.CommandContext(ctx, binary, "tail", "--url", n.url, "--token", admin, "--topic", "a", "--from", "earliest", "--format", format)
		cmd.Stdout, cmd.Stderr = &out, &out
		must(t, cmd.Start())
		testkit.Eventually(t, "outcrier tail prints what comes behind, as "+format, func() bool { return strings.Contains(out.String(), "behind") })
		cancel()
		_ = cmd.Wait()
		if !strings.Contains(out.String(), "too deep") {
			t.Errorf("outcrier tail says nothing of what it left out: %.300s", out.String())
		}
	}
}
