package e2e

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/tmaxmax/go-sse"

	"github.com/outcrier/outcrier/internal/testkit"
)

// notebook has the events that a client has received so far, by stream.
type notebook struct {
	mu      sync.Mutex
	streams [][]event
}

func (n *notebook) keep(stream int, e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.streams[stream] = append(n.streams[stream], e)
}

// await returns a copy when each stream has brought the marker.
func (n *notebook) await(t *testing.T, client, marker string) [][]event {
	t.Helper()
	var streams [][]event
	testkit.Eventually(t, fmt.Sprintf("%s has all up to %q", client, marker), func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		streams = nil
		for _, events := range n.streams {
			if !slices.ContainsFunc(events, func(e event) bool { return e.has(marker) }) {
				return false
			}
			streams = append(streams, slices.Clone(events))
		}
		return true
	})
	return streams
}

// readGoSSE reads with the client of github.com/tmaxmax/go-sse.
func readGoSSE(t *testing.T, urls []string) func(marker string) [][]event {
	t.Helper()
	n := &notebook{streams: make([][]event, len(urls))}
	for i, url := range urls {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		connection := sse.NewConnection(request)
		connection.Buffer(nil, 16<<20)
		connection.SubscribeToAll(func(e sse.Event) {
			switch e.Type {
			case "":
				if e.Data == "" {
					return // go-sse reports the field retry too
				}
				e.Type = "message"
			case "outcrier.position":
				return
			}
			n.keep(i, event{e.LastEventID, e.Type, e.Data})
		})
		go func() { _ = connection.Connect() }()
	}
	return func(marker string) [][]event { return n.await(t, "go-sse", marker) }
}

//go:embed testdata/eventsource/follow.js
var followJS string

// readChromium reads with the browser's own EventSource.
func readChromium(t *testing.T, tab context.Context, urls, types []string) func(marker string) [][]event {
	t.Helper()
	eval[chromedp.Void](t, tab, followJS+fmt.Sprintf(`;globalThis.kept = []; follow(EventSource, %s, %s, (e) => kept.push(e));`, array(t, urls), array(t, types)))
	return func(marker string) [][]event {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("Chromium has all up to %q", marker), func() bool {
			return eval[int](t, tab, fmt.Sprintf(`new Set(kept.filter((e) => e.type === %q || e.data.length < 1000 && e.data.includes(%[1]q)).map((e) => e.stream)).size`, marker)) == len(urls)
		})
		n := notebook{streams: make([][]event, len(urls))}
		for _, e := range eval[[]foreign](t, tab, `kept`) {
			n.keep(e.Stream, e.event)
		}
		return n.streams
	}
}

// foreign is an event as follow.js keeps it.
type foreign struct {
	Stream int
	event
}

func array(t *testing.T, list []string) string {
	t.Helper()
	encoded, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// installEventSource returns a folder with npm's eventsource.
func installEventSource(t *testing.T) string {
	t.Helper()
	testkit.Program(t, "node")
	return npmInstall(t, "eventsource")
}

// installed are the folders that npmInstall has made, by name. TestMain removes them.
var installed = struct {
	sync.Mutex
	folders map[string]string
}{folders: map[string]string{}}

// npmInstall returns a copy of a folder of testdata with the packages that its
// lock file names. All tests share it.
func npmInstall(t *testing.T, name string) string {
	t.Helper()
	npm := testkit.Program(t, "npm")
	installed.Lock()
	defer installed.Unlock()
	if dir, ok := installed.folders[name]; ok {
		return dir
	}
	dir, err := os.MkdirTemp("", "outcrier-e2e-npm-")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name)))
	}
	if err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		testkit.Missing(t, "npm ci: %v\n%s", err, out)
	}
	installed.folders[name] = dir
	return dir
}

// readNode reads with npm's eventsource in node.
func readNode(t *testing.T, dir string, urls, types []string) func(marker string) [][]event {
	t.Helper()
	node := exec.CommandContext(t.Context(), "node", "main.js", array(t, urls), array(t, types))
	node.Dir, node.Stderr, node.WaitDelay = dir, t.Output(), time.Second
	stdout, err := node.StdoutPipe()
	if err == nil {
		err = node.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	n := &notebook{streams: make([][]event, len(urls))}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := json.NewDecoder(bufio.NewReader(stdout)); ; {
			var e foreign
			if lines.Decode(&e) != nil {
				return
			}
			n.keep(e.Stream, e.event)
		}
	}()
	t.Cleanup(func() { // the test's context has ended, and node with it
		<-done
		_ = node.Wait()
	})
	return func(marker string) [][]event { return n.await(t, "node", marker) }
}
