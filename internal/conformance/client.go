package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/outcrier/outcrier/internal/conformance/eventsource"
)

// Client is a program that follows a stream. It prints each event as a line of JSON,
// and ends when its library gives up.
type Client struct {
	Name string
	// Command is run in Dir, with the stream's URL in place of the argument URL. When
	// it is empty the client is the EventSource of package eventsource.
	Command []string
	Dir     string
	// Socket has the client read by WebSocket: its URL is one of ws.
	Socket bool

	mu      sync.Mutex
	got     []got
	highest int // number in got
	running bool
	ended   string // why it does not run
	stop    func()
}

// got is an event that counts.
type got struct {
	n    int
	data string
}

// URL is the argument of a Command that the stream's URL takes the place of.
const URL = "URL"

// Start runs the client without any events from a run before.
func (c *Client) Start(ctx context.Context, url string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got, c.highest, c.running, c.ended = nil, 0, true, ""
	if len(c.Command) == 0 {
		c.startSource(ctx, url)
		return nil
	}
	args := append([]string(nil), c.Command...)
	for i, arg := range args {
		if arg == URL {
			args[i] = url
		}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the caller names the command
	cmd.Dir = c.Dir
	cmd.SysProcAttr = ownGroup()
	cmd.WaitDelay = time.Second
	var said tail
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.running = false
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewReader(stdout)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			c.line(line)
		}
		err := cmd.Wait()
		why := strings.TrimSpace(said.String())
		if last := strings.LastIndexByte(why, '\n'); last >= 0 {
			why = why[last+1:]
		}
		if why == "" {
			why = "it ended"
			if err != nil {
				why = err.Error()
			}
		}
		c.end(why)
	}()
	c.stop = func() { killGroup(cmd); <-done }
	return nil
}

// startSource runs the EventSource that keeps the standard to the letter.
func (c *Client) startSource(ctx context.Context, url string) {
	ctx, cancel := context.WithCancel(ctx)
	transport := &http.Transport{DisableKeepAlives: true}
	source := eventsource.Source{URL: url, Transport: transport, Event: func(e eventsource.Event) { c.keep(e.Data) }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := source.Run(ctx)
		if failed := new(eventsource.FailedError); errors.As(err, &failed) {
			c.end(failed.Error())
		}
	}()
	c.stop = func() { cancel(); <-done }
}

// Stop ends the client.
func (c *Client) Stop() {
	c.mu.Lock()
	stop := c.stop
	c.stop, c.running = nil, false
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

func (c *Client) end(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running, c.ended = false, why
}

func (c *Client) line(line []byte) {
	var event struct{ Data string }
	if err := json.Unmarshal(line, &event); err != nil {
		c.keep(fmt.Sprintf("a line that is no event: %.200q", line))
		return
	}
	c.keep(event.Data)
}

// numbered finds the number of an event of ours, whatever a server wraps around it.
var numbered = regexp.MustCompile(`"conformance":\s*([0-9]+)`)

func (c *Client) keep(data string) {
	match := numbered.FindStringSubmatch(data)
	if match == nil {
		return
	}
	n, _ := strconv.Atoi(match[1])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, got{n, data})
	c.highest = max(c.highest, n)
}

// last is the highest number that the client received.
func (c *Client) last() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.highest
}

// between are the events with numbers from one to another, as they came.
func (c *Client) between(from, to int) (events []got) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.got {
		if e.n >= from && e.n <= to {
			events = append(events, e)
		}
	}
	return events
}

// state is whether the client runs, and else why not.
func (c *Client) state() (running bool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running, c.ended
}

// tail is a writer that keeps the last bytes.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b.Len() > 64<<10 {
		t.b.Reset()
	}
	return t.b.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
