package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scene is something that happens to clients.
type Scene struct {
	Name string
	// Text says what happens, and what a client has to see.
	Text string
	// Socket says it of WebSockets, where that is something else.
	Socket string
	// Fatal says that a client may end for good: the standard has it so, or lets it.
	Fatal bool

	play  func(ctx context.Context, s *Stage) error
	needs func(s *Stage) bool
}

// Scenes are all there are, in the order that they are played in.
var Scenes = []Scene{
	{
		Name: "crash", Text: "Twelve times the server is killed under load, as by `kill -9`, and another one takes its place. Each client comes back to it with the last id that it was given, and goes on from there.",
		play: repeated(12, 12, func(ctx context.Context, s *Stage, _ int) error {
			if s.Crash != nil {
				return s.Crash(ctx, s.to)
			}
			s.each((*network).hangup)
			return nil
		}),
	},
	{
		Name: "reset", Text: "Twenty-five times all connections are reset under load.",
		play: repeated(25, 25, func(_ context.Context, s *Stage, _ int) error { s.each((*network).reset); return nil }),
	},
	{
		Name: "cut", Text: "Fourteen times all connections break within one event, at each place of it: within its data, at the end of the line, within the id, at the end of it, and after the blank line. By turns they are closed and reset. What was cut is given again, and what was whole is not.",
		Socket: "Fourteen times all connections break within one message, or after it: in its middle, near its end, and before its last byte. By turns they are closed and reset. What was cut is given again, and what was whole is not.",
		play: repeated(2*len(places), len(places), func(ctx context.Context, s *Stage, i int) error {
			cutAt(ctx, s, places[i%len(places)], i%4 >= 2)
			return nil
		}),
	},
	{
		Name: "last byte", Text: "Twice all connections break before the last byte of an event, the blank line. The event was not given, though its id was complete: a client that takes an id when it reads its line loses the event.",
		Socket: "Twice all connections break before the last byte of a message. It was not given.",
		play:   repeated(2, 2, func(ctx context.Context, s *Stage, i int) error { cutAt(ctx, s, lastByte, i > 0); return nil }),
	},
	{
		Name: "drain", Text: "Three times the server stops in order under load: it ends the streams, and another one takes its place.",
		needs: func(s *Stage) bool { return s.Drain != nil },
		play:  repeated(3, 2, func(ctx context.Context, s *Stage, _ int) error { return s.Drain(ctx, s.to) }),
	},
	{
		Name: "payloads", Text: "Payloads that parsers stumble over: line breaks of every kind between the tokens and in strings, separators beyond ASCII, NUL, byte order marks, what looks like fields, astral characters, deep nests. Each arrives as it was appended, as one event.",
		play: func(ctx context.Context, s *Stage) error {
			for _, payload := range payloads {
				if err := s.append(ctx, func(n int) string { return strings.ReplaceAll(payload, "N", fmt.Sprint(n)) }); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		Name: "large", Text: "Three events of 1 MB each, with small ones between.",
		play: func(ctx context.Context, s *Stage) error {
			times, size := 3, 1_000_000
			if s.Few { // over each limit of a library that its program has to lift
				times, size = 1, 200_000
			}
			for i := range times {
				err := s.append(ctx, func(n int) string {
					return fmt.Sprintf(`{"conformance":%d,"text":%q}`, n, strings.Repeat(string(rune('a'+i)), size))
				})
				if err == nil {
					err = s.append(ctx, nil)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		Name: "quiet", Text: "Nothing is appended for longer than a heartbeat. Each client stays, and is given what comes after.",
		play: func(ctx context.Context, s *Stage) error { pause(ctx, s.Quiet); return nil },
	},
	{
		Name: "refused", Text: "For three seconds the port is closed. The standard lets a client give up here, as Firefox does.", Fatal: true,
		Socket: "For three seconds the port is closed.",
		play: func(ctx context.Context, s *Stage) (err error) {
			return s.underLoad(ctx, func(ctx context.Context) error {
				s.each(func(n *network) { n.refuse(); n.hangup() })
				closed := 3 * time.Second
				if s.Few {
					closed /= 2 // each client asks more than once
				}
				pause(ctx, closed)
				s.each(func(n *network) { err = errors.Join(err, n.listen()) })
				return err
			})
		},
	},
	{
		Name: "502", Text: "The next request of each client is answered by 502, as by a proxy without a server. The standard ends a client here for good.", Fatal: true,
		Socket: "The next request of each client is answered by 502, as by a proxy without a server.",
		play:   answered("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
	},
	{
		Name: "204", Text: "The next request of each client is answered by 204, which tells a client to stop.", Fatal: true,
		Socket: "The next request of each client is answered by 204, which no WebSocket knows.",
		play:   answered("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
	},
}

// repeated does something so many times under load, or few times on a stage that has few, and
// after each waits until all clients are back.
func repeated(times, few int, what func(ctx context.Context, s *Stage, i int) error) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		n, load := times, 5*s.Pause
		if s.Few {
			n, load = few, s.Pause
		}
		return s.underLoad(ctx, func(ctx context.Context) error {
			for i := range n {
				if err := what(ctx, s, i); err != nil {
					return err
				}
				s.news(ctx)
				pause(ctx, load) // so that it does not hit beginnings only
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		})
	}
}

// answered has a text in place of the server's response, under load, until each client
// was answered by it.
func answered(text string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		return s.underLoad(ctx, func(ctx context.Context) error {
			s.each(func(n *network) { n.answerBy(text); n.hangup() })
			s.until(ctx, "a request was answered", (*network).hasAnswered)
			pause(ctx, 500*time.Millisecond) // in which a client that ends has ended
			s.each(func(n *network) { n.answerBy("") })
			return nil
		})
	}
}

// places are those in an event where a connection is cut: so many bytes of it pass.
var places = []func(event []byte) int{
	func(event []byte) int { return bytes.IndexByte(event, '\n') / 2 }, // within the data
	func(event []byte) int { return bytes.IndexByte(event, '\n') },     // before the end of the first line
	func(event []byte) int { return bytes.IndexByte(event, '\n') + 1 }, // after it
	func(event []byte) int { return bytes.IndexByte(event, '\n') + 2 }, // within the next one
	func(event []byte) int { return len(event) - len("\n\n") - 1 },     // within the last line
	func(event []byte) int { return len(event) - len("\n\n") },         // before its end
	func(event []byte) int { return len(event) },                       // after it
}

func lastByte(event []byte) int { return len(event) - len("\n") }

// cutAt breaks all connections within an event that is soon to come.
func cutAt(ctx context.Context, s *Stage, at func(event []byte) int, reset bool) {
	c := &cut{mark: fmt.Appendf(nil, `"conformance":%d,`, s.count()+3), at: at, reset: reset}
	s.each(func(n *network) { n.cutIn(c) })
	s.until(ctx, "the connection is cut", (*network).isCut)
	s.each(func(n *network) { n.cutIn(nil) })
}

// payloads have N in place of the number.
var payloads = []string{
	"{\n  \"conformance\": N,\n  \"text\": \"pretty\"\n}",
	"{\r\n\"conformance\": N,\r\n\"text\": \"from Windows\"\r\n}",
	"{\r\"conformance\": N,\r\"text\": \"from an old Mac\"\r}",
	"\n\n{\"conformance\":N,\"text\":\"blank lines before and after\"}\n\n\r\r",
	`{"conformance":N,"text":"escapes \r\n \n \r \t \b \f \/ \\ \" \u0041"}`,
	"{\"conformance\":N,\"text\":\"separators \u2028 \u2029 \u0085\"}",
	`{"conformance":N,"text":"escaped separators \u2028 \u2029 \u0085"}`,
	`{"conformance":N,"text":"NUL \u0000 and \u001f"}`,
	"{\"conformance\":N,\"text\":\"\ufeffa byte order mark \ufeff\"}",
	`{"conformance":N,"text":"data: x\nid: 1\nevent: y\nretry: 0\n\ndata: z\n\n"}`,
	`{"conformance":N,"text":": id: retry: event: data:"}`,
	"{\"conformance\":N,\"text\":\"\U0001f600 \U00010348 \u00e9 e\u0301 \u200f\u05d0 \uffff \U0010ffff\"}",
	`{"conformance":N,"text":"surrogates \ud83d\ude00"}`,
	`{"conformance":N,"nest":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`,
	`{"conformance":N,"numbers":[0,-0.5,1e300,123456789012345678]}`,
	`{"conformance":N,"":"","empty":[{},[],"",null,true,false]}`,
}
