package conformance

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// Library is a client that others wrote, and the program in the folder clients that
// uses it as its README does.
type Library struct {
	Name, Language string
	// Package is its name in the lock file of its folder. It is empty for a program that
	// reads a stream with the language's standard library alone.
	Package string
	// Folder is the one in clients that Command is run in.
	Folder  string
	Command []string
	// Set is what to set, and what to know.
	Set string
	// Socket is set for a library of WebSockets.
	Socket bool
	// Slow is set for one that takes more than a second to come back, for which all others would
	// have to wait.
	Slow bool
	// Known are verdicts that are the library's own doing, by scene: no server can cure
	// them. A verdict that is not known has to be "ok", but in a Fatal scene.
	Known map[string]string
}

func node(name, pkg, program string, args ...string) Library {
	return Library{Name: name, Language: "Node", Package: pkg, Folder: "node", Command: append([]string{"node", program, URL}, args...)}
}

func golang(name, pkg, program string) Library {
	return Library{Name: name, Language: "Go", Package: pkg, Folder: "go", Command: []string{"./bin/clients", program, URL}}
}

func (l Library) set(text string) Library { l.Set = text; return l }

func (l Library) known(scene, verdict string) Library {
	known := map[string]string{scene: verdict}
	for scene, verdict := range l.Known {
		known[scene] = verdict
	}
	l.Known = known
	return l
}

const (
	early  = "it takes an id when it reads its line, and loses the event that a connection breaks in just before its last byte"
	half   = "it takes what came before a break for an event: half of one is given to the handler, so that the error of `json.Unmarshal` has to be looked at; one whose data was whole comes twice; half an id is sent back, which the server answers by a gap"
	asleep = "while it waits to come back it does not keep Node running"
)

// Libraries are the clients that are tried.
var Libraries = []Library{
	{Name: "EventSource to the letter", Language: "Go", Set: "package eventsource beside this file: what the standard says, and nothing more"},

	node("eventsource 1", "eventsource1", "eventsource.mjs", "1").known("last byte", early),
	node("eventsource 2", "eventsource2", "eventsource.mjs", "2").known("last byte", early),
	node("eventsource 3", "eventsource3", "eventsource.mjs", "3"),
	node("eventsource 4", "eventsource4", "eventsource.mjs", "4"),
	node("eventsource 5", "eventsource5", "eventsource5.mjs").set(asleep),
	node("undici", "undici", "undici.mjs").set(asleep),
	node("@microsoft/fetch-event-source", "@microsoft/fetch-event-source", "fetch-event-source.mjs").
		set("`onclose` has to throw, or it does not come back from a drain; in Node also `fetch`, `openWhenHidden` and a global `window`").
		known("last byte", early),
	node("eventsource-client", "eventsource-client", "eventsource-client.mjs"),
	node("extended-eventsource", "extended-eventsource", "extended-eventsource.mjs").known("last byte", early),
	node("event-source-plus", "event-source-plus", "event-source-plus.mjs"),
	node("event-source-polyfill", "event-source-polyfill", "event-source-polyfill.mjs").
		set("`heartbeatTimeout` (45 s) longer than the server's heartbeat"),
	node("launchdarkly-eventsource", "launchdarkly-eventsource", "launchdarkly-eventsource.mjs").
		set("a handler of `error`, without which an error is thrown"),
	node("reconnecting-eventsource", "reconnecting-eventsource", "reconnecting-eventsource.mjs").
		set("`addEventListener('message', …)`, not `onmessage`: it does not take the id of what comes there"),
	node("sse.js", "sse.js", "sse.js.mjs").set("`autoReconnect: true`"),
	node("eventsource-parser", "eventsource-parser", "eventsource-parser.mjs").set("a parser: the loop around it is in refetch.mjs"),
	node("parse-sse", "parse-sse", "parse-sse.mjs").set("a parser, likewise"),
	node("fetch-event-stream", "fetch-event-stream", "fetch-event-stream.mjs").set("a parser, likewise"),
	node("@azure/core-sse", "@azure/core-sse", "azure-core-sse.mjs").set("a parser, likewise"),

	golang("r3labs/sse", "github.com/r3labs/sse/v2", "r3labs").set("`ClientMaxBufferSize` over the largest event, and a `ReconnectStrategy` that does not give up; a loop around it, as it takes an orderly end for the end").
		known("cut", half),
	golang("tmaxmax/go-sse", "github.com/tmaxmax/go-sse", "tmaxmax").set("`Buffer` over the largest event"),
	golang("donovanhide/eventsource", "github.com/donovanhide/eventsource", "donovanhide").set("`Errors` has to be read"),
	golang("launchdarkly/eventsource", "github.com/launchdarkly/eventsource", "launchdarkly").set("an error handler, or `Errors` has to be read"),
	golang("resty", "resty.dev/v3", "resty").set("`SetSizeMaxBuffer` over the largest event, `SetRetryCount`, a type for the data, and a loop with a pause around `Get`").
		known("cut", half),

	{
		Name: "Symfony HttpClient", Language: "PHP", Package: "EventSourceHttpClient", Folder: "php", Command: []string{"php", "symfony.php", URL},
		Slow: true,
		Set:  "after the last chunk, connect again with `Last-Event-ID`; it is Debian's, 5.4 in Debian 12",
	},
	{Name: "urllib", Language: "Python", Folder: "python", Command: []string{"/usr/bin/python3", "minimal.py", URL}},
	{Name: "Net::HTTP", Language: "Ruby", Folder: "ruby", Command: []string{"ruby", "minimal.rb", URL}},
	{Name: "java.net.http", Language: "Java", Folder: "java", Command: []string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", ".", "Minimal", URL}},
	{Name: "curl and awk", Language: "Shell", Folder: "curl", Command: []string{"sh", "minimal.sh", URL}},
}

// Sockets are the libraries of WebSockets that are tried, each with a loop around it that comes
// back from the last position.
var Sockets = []Library{
	socket(node("ws", "ws", "ws.mjs")),
	socket(node("undici, WebSocket", "undici", "undici-websocket.mjs")),
	socket(golang("coder/websocket", "github.com/coder/websocket", "coder")).set("`SetReadLimit` over the largest event: by default it closes at 32 KiB"),
	socket(golang("gorilla/websocket", "github.com/gorilla/websocket", "gorilla")),
	socket(Library{Name: "websockets", Language: "Python", Package: "python3-websockets", Folder: "python", Command: []string{"/usr/bin/python3", "by_websockets.py", URL}}).
		set("`max_size=None`, or over the largest event: by default it closes at 1 MiB; it is Debian's, 10.4 in Debian 12"),
}

func socket(l Library) Library { l.Socket = true; return l }

// foreign reports whether somebody else wrote what reads the stream.
func (l Library) foreign() bool { return l.Package != "" }

// Client returns the client, whose programs are in the folder clients.
func (l Library) Client(clients string) *Client {
	return &Client{Name: l.Name, Command: l.Command, Dir: filepath.Join(clients, l.Folder), Socket: l.Socket}
}

var inGoMod = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+) v(\S+)`)

// Version is the one that is tried, empty when it is the machine's.
func (l Library) Version(clients fs.FS) (string, error) {
	switch l.Folder {
	case "node":
		var lock struct {
			Dependencies map[string]string `json:"dependencies"`
		}
		content, err := fs.ReadFile(clients, "node/package.json")
		if err == nil {
			err = json.Unmarshal(content, &lock)
		}
		version := lock.Dependencies[l.Package]
		return version[strings.LastIndexByte(version, '@')+1:], err
	case "go":
		content, err := fs.ReadFile(clients, "go/go.mod")
		for _, match := range inGoMod.FindAllSubmatch(content, -1) {
			if string(match[1]) == l.Package {
				return string(match[2]), nil
			}
		}
		return "", fmt.Errorf("go.mod does not require %s: %w", l.Package, err)
	}
	return "", nil
}
