package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/mattn/go-runewidth"
)

// screen is a terminal with a number of columns that a command writes to, and the text
// that it had shown when it was closed.
func screen(t *testing.T, columns uint16) (tty *os.File, shown func() string) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); tty.Close() })
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	all := make(chan string)
	go func() {
		content, _ := io.ReadAll(master) // ends with EIO when the terminal is closed
		all <- strings.ReplaceAll(string(content), "\r\n", "\n")
	}()
	return tty, func() string {
		t.Helper()
		tty.Close()
		return <-all
	}
}

func cloudEvent(id int, topic, kind, data string) json.RawMessage {
	return fmt.Appendf(nil, `{"id":"%d","topic":%q,"type":%q,"time":"2026-11-22T02:00:00.123456Z","data":%s}`, id, topic, kind, data)
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestListing_IsATableOnATerminal(t *testing.T) {
	for _, columns := range []uint16{80, 120, 40} {
		tty, shown := screen(t, columns)
		out := newListing(tty, nil)
		long := `{"text":"` + strings.Repeat("咖啡 coffee ", 40) + `"}`
		for i, topic := range []string{"user/42", "a", "public/announcements"} {
			if err := out.print(cloudEvent(i+1, topic, "audit.approved", long)); err != nil {
				t.Fatal(err)
			}
		}
		out.missing("trimmed")
		text := shown()
		if !strings.Contains(text, "\x1b[36muser/42") {
			t.Errorf("%d columns: no colour in\n%s", columns, text)
		}
		lines := strings.Split(strings.TrimSpace(colours.ReplaceAllString(text, "")), "\n")
		for _, line := range lines {
			if cells := runewidth.StringWidth(line); cells > int(columns) {
				t.Errorf("%d columns: %d are taken by\n%s", columns, cells, line)
			}
		}
		if day := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC).Local().Format(time.DateOnly); !strings.Contains(lines[0], day) {
			t.Errorf("the day is not named: %s", lines[0])
		}
		if !strings.Contains(lines[len(lines)-1], "missing here: trimmed") {
			t.Errorf("the gap is not told: %s", lines[len(lines)-1])
		}
		if columns < 80 {
			continue
		}
		if len(lines) != 5 {
			t.Fatalf("%d columns: %d lines:\n%s", columns, len(lines), text)
		}
		if a, b := strings.Index(lines[1], "audit."), strings.Index(lines[2], "audit."); a != b {
			t.Errorf("columns are not aligned:\n%s\n%s", lines[1], lines[2])
		}
		if !strings.HasSuffix(lines[1], "…") {
			t.Errorf("the payload is not cut with a sign: %s", lines[1])
		}
	}
}

func TestListing_HonoursNoColour(t *testing.T) {
	for _, environ := range [][]string{{"NO_COLOR=1"}, {"TERM=dumb"}} {
		tty, shown := screen(t, 80)
		if err := newListing(tty, environ).print(cloudEvent(1, "user/42", "audit.approved", `{}`)); err != nil {
			t.Fatal(err)
		}
		if text := shown(); strings.Contains(text, "\x1b") {
			t.Errorf("%q: there is an escape in %q", environ, text)
		}
	}
}

// TestListing_IsPlainAndWholeElsewhere: in a file all of a payload stands, without
// anything for a terminal.
func TestListing_IsPlainAndWholeElsewhere(t *testing.T) {
	var out strings.Builder
	payload := `{"text":"` + strings.Repeat("x", 500) + `"}`
	if err := newListing(&out, nil).print(cloudEvent(7, "user/42", "audit.approved", payload)); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 2, 0, 0, 123e6, time.UTC).Local().Format("2006-01-02T15:04:05.000Z07:00")
	if want := at + "  7  user/42  audit.approved  " + payload + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestListing_ObeysNoEvent: JSON may hold C1 control characters, and those that turn
// the direction of text.
func TestListing_ObeysNoEvent(t *testing.T) {
	for name, environ := range map[string][]string{"terminal": {"NO_COLOR=1"}} {
		tty, shown := screen(t, 80)
		var file strings.Builder
		event := cloudEvent(1, "user/42", "audit.approved", "{\n\t\"a\":\"\u009b2J\u202e\"}")
		for _, out := range []*listing{newListing(tty, environ), newListing(&file, nil)} {
			if err := out.print(event); err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range []string{shown(), file.String()} {
			if strings.ContainsAny(text, "\u009b\u202e\x1b\t") || !strings.Contains(text, `{"a":"�2J�"}`) {
				t.Errorf("%s: %q", name, text)
			}
		}
	}
}

func TestProgress_IsALineThatChangesOnATerminal(t *testing.T) {
	tty, shown := screen(t, 30)
	p := newProgress(tty, []string{"NO_COLOR=1"})
	p.say("first " + strings.Repeat("long ", 20))
	fmt.Fprintln(p, "a line of the log")
	p.say("second")
	p.end()
	text := shown()
	if strings.Count(text, "\n") != 1 {
		t.Errorf("more than the log's line is left: %q", text)
	}
	for _, step := range strings.Split(text, "\r\x1b[K") {
		if cells := runewidth.StringWidth(strings.TrimRight(step, "\n")); cells > 29 {
			t.Errorf("a step takes %d cells: %q", cells, step)
		}
	}
	if !strings.HasSuffix(text, "second\r\x1b[K") {
		t.Errorf("the line is not cleared: %q", text)
	}
}

func TestProgress_IsALineForEachStepElsewhere(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, nil)
	p.say("first")
	p.count("1 event")
	fmt.Fprintln(p, "a line of the log")
	p.say("second")
	p.end()
	if want := "first\na line of the log\nsecond\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestTail_CountsForWhoWatchesAPipe: what goes into a file can't be seen.
func TestTail_CountsForWhoWatchesAPipe(t *testing.T) {
	tty, shown := screen(t, 80)
	c := newCounter(process{stdout: io.Discard, stderr: tty})
	c.count("2 events written")
	c.say("5 events written") // what the next tick would show
	c.end()
	if text := shown(); !strings.Contains(text, "5 events written") {
		t.Errorf("%q", text)
	}
	if newCounter(process{stdout: tty, stderr: tty}) != nil {
		t.Error("it counts beside a listing")
	}
}

func TestTail_JSONIsForPrograms(t *testing.T) {
	var out strings.Builder
	event := cloudEvent(1, "user/42", "audit.approved", `{"submission": 7}`)
	for format, want := range map[string]string{"cloudevents": string(event) + "\n", "payload": `{"submission": 7}` + "\n"} {
		out.Reset()
		c := mustLoad[tailConfig](t, nil, "--url", "http://127.0.0.1:1", "--format", format)
		if err := c.handleAll(t.Context(), process{}, newListing(&out, nil), nil, []json.RawMessage{event}); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
	code := run(context.Background(), []string{"tail", "--url", "http://127.0.0.1:1", "--json", "--format", "payload"}, nil, nil, &out, &out)
	if code != exitMistake || !strings.Contains(out.String(), "is --format cloudevents, not payload") {
		t.Errorf("%d: %s", code, out.String())
	}
}
