package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress shows the progress of a long command: on a terminal in one line that changes and
// has the time so far, otherwise in a line for each step. Text written to it does not
// disturb that line.
type progress struct {
	w        io.Writer
	terminal *terminal

	mu    sync.Mutex
	text  string // the line shown, "" for nothing
	began time.Time
	stop  chan struct{}
}

// newProgress returns a progress without a text; end must be called.
func newProgress(w io.Writer, environ []string) *progress {
	p := &progress{w: w, terminal: terminalOf(w, environ), stop: make(chan struct{})}
	if p.terminal != nil {
		go p.tick()
	}
	return p
}

// tick draws the line again every second, with the time so far.
func (p *progress) tick() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// say shows the step that begins now.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal == nil {
		fmt.Fprintln(p.w, text)
		return
	}
	p.text, p.began = text, time.Now()
	p.draw()
}

// count replaces the text of the step with how far it has come. It is shown by the next tick,
// and only where the line can change.
func (p *progress) count(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text == "" {
		p.began = time.Now()
	}
	p.text = text
}

func (p *progress) draw() {
	if p.text == "" {
		return
	}
	took := ""
	if past := time.Since(p.began).Truncate(time.Second); past > 0 {
		took = "  " + past.String()
	}
	// A line that is full would wrap, and the next not replace it.
	fmt.Fprintf(p.w, "\r\033[K%s%s", cut(p.text, p.terminal.width()-len(took)-1), p.terminal.paint(dim, took))
}

// Write writes lines that stay, as those of the log.
func (p *progress) Write(lines []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal == nil || p.text == "" {
		return p.w.Write(lines)
	}
	fmt.Fprint(p.w, "\r\033[K")
	n, err := p.w.Write(lines)
	p.draw()
	return n, err
}

// end clears the line for good.
func (p *progress) end() {
	close(p.stop)
	p.clear()
}

// clear clears the line, until more is said.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal != nil && p.text != "" {
		fmt.Fprint(p.w, "\r\033[K")
	}
	p.text = ""
}
