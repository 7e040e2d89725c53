package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Rule is something that a stream's bytes have to be for every client, also one that
// takes liberties with the standard.
type Rule struct {
	Name string
	// Text says what the wire must have, and which clients fail without it.
	Text string

	broken func(o *opening) string
}

// Finding is a Rule that a stream breaks.
type Finding struct {
	Rule
	// Seen is what the wire had instead.
	Seen string
}

// opening is the beginning of a stream as it came, up to a few events of ours.
type opening struct {
	response *http.Response
	body     []byte
	first    time.Duration // until the first byte of the body
	events   int           // of ours
}

// blocks are the parts between blank lines, without the line that nothing came after.
func (o *opening) blocks() [][]byte {
	text := bytes.ReplaceAll(bytes.ReplaceAll(o.body, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	blocks := bytes.Split(text, []byte("\n\n"))
	return blocks[:len(blocks)-1]
}

// fields are the names of a block's fields, in their order, without comments.
func fields(block []byte) (names []string) {
	for line := range bytes.SplitSeq(block, []byte("\n")) {
		if name, _, _ := strings.Cut(string(line), ":"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// eachBlock returns the first block that is wrong.
func eachBlock(wrong func(names []string) bool) func(*opening) string {
	return func(o *opening) string {
		for _, block := range o.blocks() {
			if wrong(fields(block)) {
				return fmt.Sprintf("%.200q", block)
			}
		}
		return ""
	}
}

// has reports what a header is when it lacks a token.
func has(header, token string) func(*opening) string {
	return func(o *opening) string {
		if value := strings.Join(o.response.Header.Values(header), ", "); !strings.Contains(strings.ToLower(value), token) {
			return fmt.Sprintf("%s: %q", header, value)
		}
		return ""
	}
}

func count(names []string, name string) (n int) {
	for _, one := range names {
		if one == name {
			n++
		}
	}
	return n
}

var retryField = regexp.MustCompile(`(?m)^retry: ?([0-9]+)$`)

// Rules are all there are.
var Rules = []Rule{
	{"content type", "Content-Type is text/event-stream: else an EventSource is dead for good. UTF-8 may be said, nothing else", func(o *opening) string {
		value := o.response.Header.Get("Content-Type")
		essence, parameters, err := mime.ParseMediaType(value)
		if charset := strings.ToLower(parameters["charset"]); err != nil || essence != "text/event-stream" || charset != "" && charset != "utf-8" {
			return fmt.Sprintf("%q", value)
		}
		return ""
	}},
	{"no store", "Cache-Control has no-store: else a service worker or a proxy may keep a stream", has("Cache-Control", "no-store")},
	{"no transform", "Cache-Control has no-transform: else a proxy that compresses holds events back", has("Cache-Control", "no-transform")},
	{"no buffering", "X-Accel-Buffering is no: else nginx and those like it hold events back", has("X-Accel-Buffering", "no")},
	{"chunks", "over HTTP/1.1 the body is chunked: else a crash looks like an orderly end, after which clients that use fetch do not come back", func(o *opening) string {
		if o.response.ProtoMajor == 1 && (len(o.response.TransferEncoding) == 0 || o.response.TransferEncoding[0] != "chunked") {
			return fmt.Sprintf("Transfer-Encoding: %q", o.response.TransferEncoding)
		}
		return ""
	}},
	{"connection", "a chunked response has no Connection: close: else Node's fetch takes a connection that breaks off for an orderly end, also before the last chunk", func(o *opening) string {
		if o.response.ProtoMajor == 1 && o.response.Close && len(o.response.TransferEncoding) > 0 {
			return "Connection: close"
		}
		return ""
	}},
	{"first byte", "something of the body comes at once: Firefox says that a stream is open only then", func(o *opening) string {
		if o.first > time.Second {
			return fmt.Sprintf("nothing for %v", o.first.Round(time.Millisecond))
		}
		return ""
	}},
	{"retry", "retry is there, from 100 ms to a minute: else a browser comes back after 3 or 5 s, and at 0 at once and for ever", func(o *opening) string {
		match := retryField.FindSubmatch(o.body)
		if match == nil {
			return "no retry"
		}
		if ms, err := strconv.Atoi(string(match[1])); err != nil || ms < 100 || ms > 60_000 {
			return string(match[0])
		}
		return ""
	}},
	{"id", "each block with data has an id, and one only: else the client comes back to an older place, and is given events twice", eachBlock(func(names []string) bool { return count(names, "data") > 0 && count(names, "id") != 1 })},
	{"id last", "id is the last line of its block: clients that take it when they read its line lose the event that a crash cuts in two", eachBlock(func(names []string) bool {
		return count(names, "id") > 0 && names[len(names)-1] != "id"
	})},
	{"data", "each block has data: clients that use fetch hand a block without it to handlers, which parse it", eachBlock(func(names []string) bool { return count(names, "data") == 0 })},
	{"one line", "data is one line: clients disagree about what joins two of them", eachBlock(func(names []string) bool { return count(names, "data") > 1 })},
	{"line breaks", "lines end by LF, and no other separator is in the stream: clients that split by what is a line break to their language split there", func(o *opening) string {
		for _, separator := range []string{"\r", "\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e"} {
			if at := bytes.Index(o.body, []byte(separator)); at >= 0 {
				return fmt.Sprintf("%q", o.body[max(0, at-40):min(len(o.body), at+40)])
			}
		}
		return ""
	}},
	{"events", "what is appended comes", func(o *opening) string {
		if o.events < len(payloads) {
			return fmt.Sprintf("%d of %d events within the time", o.events, len(payloads))
		}
		return ""
	}},
}

// Inspect opens a stream, appends events whose payloads parsers stumble over, and
// returns the rules that its bytes break.
func Inspect(ctx context.Context, stream *url.URL, appendPayload func(ctx context.Context, payload string) error) ([]Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, stream.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Accept", "text/event-stream")
	began := time.Now()
	response, err := (&http.Transport{DisableCompression: true}).RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("open the stream: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("open the stream: the server answers %s", response.Status)
	}
	o := &opening{response: response, first: time.Hour}
	appended := make(chan error, 1) // an error ends the reading
	for buf := make([]byte, 64<<10); o.events < len(payloads); {
		n, err := response.Body.Read(buf)
		if len(o.body) == 0 && n > 0 {
			o.first = time.Since(began)
			go func() {
				err := appendAll(ctx, appendPayload)
				appended <- err
				if err != nil {
					cancel()
				}
			}()
		}
		o.body = append(o.body, buf[:n]...)
		o.events = len(numbered.FindAll(o.body, -1))
		if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			return nil, fmt.Errorf("read the stream: %w", err)
		}
		if err != nil {
			break
		}
	}
	if o.first < time.Hour {
		if err := <-appended; err != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, err
		}
	}
	var findings []Finding
	for _, rule := range Rules {
		if seen := rule.broken(o); seen != "" {
			findings = append(findings, Finding{rule, seen})
		}
	}
	return findings, nil
}

func appendAll(ctx context.Context, appendPayload func(ctx context.Context, payload string) error) error {
	for i, payload := range payloads {
		if err := appendPayload(ctx, strings.ReplaceAll(payload, "N", strconv.Itoa(i+1))); err != nil {
			return fmt.Errorf("append event %d: %w", i+1, err)
		}
	}
	return nil
}
