package handlers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/outcrier/outcrier/sse/ssetest"
)

// asyncAPI is the checked part of docs/asyncapi.yaml.
type asyncAPI struct {
	AsyncAPI string `yaml:"asyncapi"`
	Channels map[string]struct {
		Address  string
		Messages map[string]struct {
			Ref string `yaml:"$ref"`
		}
	}
	Operations map[string]struct {
		Action  string
		Channel struct {
			Ref string `yaml:"$ref"`
		}
	}
	Components struct {
		Messages map[string]struct {
			Name     string
			Examples []example
		}
	}
}

// example is a message: its data, and its other SSE fields.
type example struct {
	Name    string
	Headers map[string]any
	Payload any
}

// readAsyncAPI returns the file, and its schemas by where they stand in it.
func readAsyncAPI(t *testing.T) (doc asyncAPI, schema func(pointer string) *jsonschema.Schema) {
	t.Helper()
	content, err := os.ReadFile("../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all any
	if err := yaml.Unmarshal(content, &doc); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", all); err != nil {
		t.Fatal(err)
	}
	return doc, func(pointer string) *jsonschema.Schema {
		t.Helper()
		compiled, err := compiler.Compile("asyncapi.json#" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		return compiled
	}
}

func TestAsyncAPI_IsWholeAndItsExamplesAreValid(t *testing.T) {
	t.Parallel()
	doc, schema := readAsyncAPI(t)
	channel := doc.Channels["events"]
	if doc.AsyncAPI != "3.0.0" || channel.Address != "/events" || doc.Operations["follow"].Action != "send" || doc.Operations["follow"].Channel.Ref != "#/channels/events" {
		t.Errorf("%+v", doc)
	}
	messages := maps.Clone(channel.Messages)
	maps.Copy(messages, doc.Channels["socket"].Messages)
	if a, b := slices.Sorted(maps.Keys(messages)), slices.Sorted(maps.Keys(doc.Components.Messages)); !slices.Equal(a, b) {
		t.Errorf("the channels have %q, and there are %q", a, b)
	}
	for name, message := range doc.Components.Messages {
		if ref := messages[name].Ref; ref != "#/components/messages/"+name {
			t.Errorf("%s is %s", name, ref)
		}
		if len(message.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, e := range message.Examples {
			for part, value := range map[string]any{"headers": e.Headers, "payload": e.Payload} {
				if part == "headers" && e.Headers == nil {
					continue // a message of a WebSocket has none
				}
				if err := schema("/components/messages/" + name + "/" + part).Validate(value); err != nil {
					t.Errorf("%s %s: %v", name, e.Name, err)
				}
			}
		}
	}
}

// TestAsyncAPI_ExamplesAreWhatTheServerSends: all of each, except ids, positions, times
// and the heartbeat, which are checked against their schemas.
func TestAsyncAPI_ExamplesAreWhatTheServerSends(t *testing.T) {
	t.Parallel()
	doc, schema := readAsyncAPI(t)
	n := newNode(t, func(n *node) { n.streamer.Heartbeat, n.streamer.Node = 100*time.Millisecond, "a1" })
	sent := map[string]ssetest.Event{}

	c := ssetest.Open(t, n.events("topic=user/42"))
	sent["hello new"] = c.Until("outcrier.hello")
	sent["live live"] = c.Until("outcrier.live")
	const appendSQL = `SELECT outcrier.append($1, 'audit.approved', '{"submission": 7}', '/audit',
		'{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'::jsonb)`
	add := func(topic string) {
		t.Helper()
		if _, err := n.pool.Exec(t.Context(), appendSQL, topic); err != nil {
			t.Fatal(err)
		}
	}
	sockets := n.socketExamples(t, add, doc.Components.Messages["change"].Examples[0])
	payload := ssetest.Open(t, n.events("topic=user/42&format=payload"))
	payload.Until("outcrier.live")
	batch := ssetest.Open(t, n.events("topic=user/42&format=payload&batch=10s"))
	batch.Until("outcrier.live")
	add("user/42")
	sent["event approved"] = c.Until("audit.approved")
	sent["payload approved"] = payload.Until("audit.approved")
	resumed := ssetest.Open(t, n.events("topic=user/42"), "Last-Event-ID", sent["event approved"].ID)
	sent["hello resumed"] = resumed.Until("outcrier.hello")
	add("user/42")
	add("user/43")
	sent["position position"] = c.Until("outcrier.position")
	sent["gap gap"] = ssetest.Open(t, n.events("topic=user/42"), "Last-Event-ID", "nonsense").Until("outcrier.hello")
	n.streamer.DrainTime = 0
	n.streamer.Drain()
	sent["batch two"] = batch.Until("outcrier.batch") // as far as it has come
	sent["goodbye drain"] = ssetest.Open(t, n.events("topic=user/42")).Until("outcrier.goodbye")

	sockets["message goodbye"] = n.socket(t, "topic=user/42").next()
	goodbye := sockets["message goodbye"]
	goodbye.text = []byte(strings.Replace(string(goodbye.text), "{", `{"position":"1042.AQeGjAMBgIsD",`, 1)) // of one that has begun
	sockets["message goodbye"] = goodbye
	examples := 0
	for name, message := range doc.Components.Messages {
		for _, e := range message.Examples {
			if got, ok := sockets[name+" "+e.Name]; ok {
				agreesWithExample(t, schema("/components/messages/"+name+"/payload"), name+" "+e.Name, e.Payload, got.text)
				continue
			}
			if name == "change" {
				continue // it was sent by us
			}
			examples++
			got, ok := sent[name+" "+e.Name]
			if !ok {
				t.Errorf("%s %s was not sent", name, e.Name)
				continue
			}
			headers := map[string]any{"event": got.Type}
			if e.Headers["id"] != nil {
				headers["id"] = got.ID
			}
			var data any
			if err := json.Unmarshal([]byte(got.Data), &data); err != nil {
				t.Fatal(err)
			}
			for part, value := range map[string]any{"headers": headers, "payload": data} {
				if err := schema("/components/messages/" + name + "/" + part).Validate(value); err != nil {
					t.Errorf("%s %s, %s as sent: %v", name, e.Name, part, err)
				}
			}
			if diff := cmp.Diff(masked(t, e.Headers, e.Payload), masked(t, headers, data)); diff != "" {
				t.Errorf("%s %s (-example +sent):\n%s", name, e.Name, diff)
			}
		}
	}
	if examples != len(sent) {
		t.Errorf("%d were sent, there are %d examples", len(sent), examples)
	}
}

// socketExamples are what a server sends on a WebSocket, by the examples that they are of.
func (n *node) socketExamples(t *testing.T, add func(topic string), change example) map[string]message {
	t.Helper()
	sent := map[string]message{}
	s := n.socket(t, "topic=user/42")
	sent["message hello"] = s.next()
	sent["message live"], _ = s.until("outcrier.live")
	payload := n.socket(t, "topic=user/42&format=payload")
	payload.until("outcrier.live")
	add("user/42")
	sent["message event"], _ = s.until("audit.approved")
	sent["message payload"], _ = payload.until("audit.approved")
	text, err := json.Marshal(change.Payload)
	if err != nil {
		t.Fatal(err)
	}
	s.say(string(text))
	sent["error malformed"], _ = s.until("outcrier.error")
	sent["topics one"], _ = s.until("outcrier.topics")
	return sent
}

// agreesWithExample checks a message of a WebSocket: all of it, except values that
// differ each time.
func agreesWithExample(t *testing.T, schema *jsonschema.Schema, name string, example any, sent []byte) {
	t.Helper()
	var got any
	if err := json.Unmarshal(sent, &got); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(got); err != nil {
		t.Errorf("%s as sent: %v", name, err)
	}
	text, err := json.Marshal(example)
	if err != nil {
		t.Fatal(err)
	}
	each := regexp.MustCompile(`"(id|position|time|retry|heartbeat)":("[^"]*"|\d+)`)
	want, have := map[string]any{}, map[string]any{}
	for text, into := range map[string]*map[string]any{string(text): &want, string(sent): &have} {
		if err := json.Unmarshal([]byte(each.ReplaceAllString(text, `"$1":"different each time"`)), into); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s (-example +sent):\n%s", name, diff)
	}
}

// masked is a message without the values that differ each time.
func masked(t *testing.T, headers map[string]any, payload any) (both []map[string]any) {
	t.Helper()
	encoded, err := json.Marshal([]any{headers, map[string]any{"data": payload}})
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	if err := decoder.Decode(&both); err != nil {
		t.Fatal(err)
	}
	fields, _ := both[1]["data"].(map[string]any)
	for _, part := range []map[string]any{both[0], fields} {
		for _, name := range []string{"id", "position", "time", "since"} {
			if text, ok := part[name].(string); ok {
				part[name] = fmt.Sprintf("a %s, with a dot %t", name, strings.Contains(text, "."))
			}
		}
		if _, ok := part["heartbeat"]; ok {
			part["heartbeat"] = "a setting"
		}
	}
	return both
}
