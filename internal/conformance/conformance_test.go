package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(6)
	m.Run()
}

// TestClients plays all scenes to all clients at once, those of Server-Sent Events and those of
// WebSockets, in front of two nodes. Slow clients have stages, and so nodes, of their own. With
// CONFORMANCE_REPORT=1 it plays the scenes at full length and writes the results into CLIENTS.md
// and SOCKETS.md.
func TestClients(t *testing.T) {
	t.Parallel()
	verdicts := played(t, slices.Concat(Libraries, Sockets))
	write(t, "CLIENTS.md", ReportClients, verdicts)
	write(t, "SOCKETS.md", ReportSockets, verdicts)
}

// write writes a document, if it is asked for.
func write(t *testing.T, name string, report func([]Verdict, fs.FS) (string, error), verdicts []Verdict) {
	t.Helper()
	if os.Getenv("CONFORMANCE_REPORT") == "" || t.Failed() {
		return
	}
	text, err := report(verdicts, os.DirFS("clients"))
	if err == nil {
		err = os.WriteFile(name, []byte(text), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// played plays all scenes to libraries, and checks the results.
func played(t *testing.T, all []Library) (verdicts []Verdict) {
	t.Helper()
	clients := install(t)
	libraries := tried(t, all)
	wanted := func(scene Scene) bool {
		names := os.Getenv("CONFORMANCE_SCENES")
		return names == "" || strings.Contains(names, scene.Name)
	}
	isReset := func(scene Scene) bool { return scene.Name == "reset" } // as long as all others for who is slow
	plays := []struct {
		name    string
		slow    bool
		plays   func(Scene) bool
		results []Verdict
	}{
		{"all scenes", false, func(Scene) bool { return true }, nil},
		{"resets for the slow", true, isReset, nil},
		{"other scenes for the slow", true, func(scene Scene) bool { return !isReset(scene) }, nil},
	}
	t.Run("stage", func(t *testing.T) {
		for i := range plays {
			p := &plays[i]
			var playing []*Client
			for _, l := range libraries {
				if l.Slow == p.slow {
					playing = append(playing, l.Client(clients))
				}
			}
			var scenes []Scene
			for _, scene := range Scenes {
				if wanted(scene) && p.plays(scene) {
					scenes = append(scenes, scene)
				}
			}
			if len(playing) == 0 || len(scenes) == 0 {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				var err error
				if p.results, err = newStage(t).Play(t.Context(), playing, scenes); err != nil {
					t.Error(err)
				}
			})
		}
	})
	for _, p := range plays {
		verdicts = append(verdicts, p.results...)
	}
	t.Logf("\n%s", Table(verdicts))
	for _, v := range verdicts {
		for _, l := range libraries {
			if l.Name == v.Client {
				checkVerdict(t, l, v)
			}
		}
	}
	return verdicts
}

func checkVerdict(t *testing.T, l Library, v Verdict) {
	t.Helper()
	if v.Twice+v.Disordered+v.Altered == 0 && isFatal(v.Scene) && (v.Ended != "" || v.Stuck) {
		return // as the standard has it
	}
	if want := l.Known[v.Scene]; want != "" {
		if v.Ended != "" || v.Stuck || v.Disordered+v.Altered > 0 {
			t.Errorf("%s, %s: %s (%s); known is only that %s", v.Client, v.Scene, v, v.Ended, want)
		}
		return
	}
	if !v.OK() {
		t.Errorf("%s, %s: %s (%s)", v.Client, v.Scene, v, v.Ended)
	}
}

func isFatal(name string) bool {
	for _, scene := range Scenes {
		if scene.Name == name {
			return scene.Fatal
		}
	}
	return false
}

// tried are the libraries whose languages are here. In CI all have to be.
func tried(t *testing.T, all []Library) (libraries []Library) {
	t.Helper()
	only := os.Getenv("CONFORMANCE_CLIENTS")
	for _, l := range all {
		if only != "" && !strings.Contains(only, l.Name) {
			continue
		}
		if len(l.Command) > 0 && l.Folder != "go" {
			program := l.Command[0]
			if program == "java" {
				program = "javac" // comes with java, and not the other way round
			}
			if _, err := exec.LookPath(program); err != nil {
				leaveOut(t, "%s for %s is not installed", program, l.Name)
				continue
			}
		}
		libraries = append(libraries, l)
	}
	return libraries
}

// leaveOut leaves out libraries that are not installed. In CI that fails the test.
func leaveOut(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but "+format, args...)
	}
	t.Logf(format, args...)
}

// install copies the folder clients to the user's cache, with the packages that its
// lock files name and the programs of Go and Java built, and returns where. It is done once for
// each content.
func install(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.Walk("clients", func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d ", path, len(content))
		sum.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	_, javac := exec.LookPath("javac")
	fmt.Fprint(sum, javac) // Java that is installed later has a folder of its own
	dir := filepath.Join(cache, "outcrier-conformance", hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(filepath.Join(dir, "built")); err == nil {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS("clients")); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Join(dir, "node"), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	build := testkit.Go("build", "-ldflags=-s -w", "-o", "bin/clients", ".")
	build.Dir = filepath.Join(dir, "go")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the Go clients: %v\n%s", err, out)
	}
	if javac == nil {
		run(t, filepath.Join(dir, "java"), "javac", "Minimal.java")
	}
	if err := os.WriteFile(filepath.Join(dir, "built"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		testkit.Missing(t, "%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// newStage starts two nodes on a database, one of which clients are at.
func newStage(t *testing.T) *Stage {
	t.Helper()
	database := outboxtest.URL(t)
	now, next := newNode(t, database), newNode(t, database)
	leave := func(by syscall.Signal) func(context.Context, func(*url.URL)) error {
		return func(_ context.Context, to func(*url.URL)) error {
			next.Ready(t)
			to(urlOf(next))
			now.End(t, by)
			now.Start(t)
			now, next = next, now
			return nil
		}
	}
	now.Ready(t)
	stage := &Stage{
		Stream: streamOf(now),
		Append: appendTo(t, database),
		Crash:  leave(syscall.SIGKILL),
		Drain:  leave(syscall.SIGTERM),
		// Long enough for a busy machine.
		Patience: testkit.Deadline,
		Log:      t.Logf,
	}
	if os.Getenv("CONFORMANCE_REPORT") == "" && !testkit.Long() {
		// Each event is work for each client, and a heartbeat comes every second.
		stage.Few, stage.Pause, stage.Quiet = true, 150*time.Millisecond, 1500*time.Millisecond
	}
	return stage
}

// appendTo returns an Append of a Stage.
func appendTo(t *testing.T, database string) func(context.Context, string) error {
	t.Helper()
	pool := outboxtest.Pool(t, database)
	return func(ctx context.Context, payload string) error {
		_, err := pool.Exec(ctx, `INSERT INTO outbox (topic, type, payload) VALUES ('conformance', 'conformance.appended', $1::text::json)`, payload)
		return err
	}
}

func newNode(t *testing.T, database string) *testkit.Node {
	t.Helper()
	program := os.Getenv("CONFORMANCE_SERVER")
	if program == "" {
		program = testkit.PlainCommand(t, "cmd/outcrier")
	}
	n := testkit.NewNode(t, program, database, "--retry", "300ms", "--heartbeat", "1s", "--drain", "200ms",
		"--wake", "poll") // with LISTEN it is not ready before that was heard once
	n.Start(t)
	return n
}

// streamOf is the stream of a node for the events that appendTo appends.
func streamOf(n *testkit.Node) *url.URL {
	stream := urlOf(n)
	stream.Path, stream.RawQuery = "/events", "topic=conformance&format=payload&names=message"
	return stream
}

// urlOf is where a node serves.
func urlOf(n *testkit.Node) *url.URL { return &url.URL{Scheme: "http", Host: n.Address} }
