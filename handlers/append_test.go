package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
)

func (n *node) post(t *testing.T, body string, headers ...string) answer {
	t.Helper()
	if !slices.Contains(headers, "Content-Type") {
		headers = append(headers, "Content-Type", "application/json")
	}
	return do(t, "POST", n.url+"/events", body, headers...)
}

func (a answer) ids(t *testing.T) []int64 {
	t.Helper()
	var appended handlers.Appended
	if err := json.Unmarshal([]byte(a.body), &appended); err != nil || a.status != 201 {
		t.Fatalf("status %d: %s: %v", a.status, a.body, err)
	}
	return appended.IDs
}

func (n *node) stored(t *testing.T) []string {
	t.Helper()
	rows, _ := n.pool.Query(t.Context(), `SELECT concat_ws(' ', topic, type, payload::text, source, coalesce(headers::text, '-'), coalesce(dedup_key, '-')) FROM outcrier.event WHERE topic <> '' ORDER BY id`)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAppend_RefusedRequestSaysWhyAndStoresNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	event := `{"topic":"a","type":"t"}`
	cloud := func(more string) string {
		return `{"specversion":"1.0","id":"1","topic":"a","type":"t","source":"/s"` + more + `}`
	}
	for name, test := range map[string]struct {
		body, media string
		status      int
		says        []string
	}{
		"no Content-Type":              {event, "", 415, []string{"Content-Type", "application/json"}},
		"a form":                       {event, "application/x-www-form-urlencoded", 415, []string{"application/cloudevents+json"}},
		"text":                         {event, "text/plain", 415, []string{"application/json"}},
		"Content-Type malformed":       {event, "application/json;;", 415, []string{"application/json"}},
		"compressed":                   {"\x1f\x8b\x08\x00", "gzip", 415, []string{"Content-Encoding", `"gzip"`, "uncompressed"}},
		"too large":                    {`{"topic":"` + strings.Repeat("a", maxBody) + `"}`, "application/json", 413, []string{"at most 65536 bytes"}},
		"empty":                        {"", "application/json", 400, []string{"JSON"}},
		"white space":                  {" \n", "application/json", 400, []string{"JSON"}},
		"cut":                          {`{"topic":"a","type":`, "application/json", 400, []string{"not JSON"}},
		"an array that is cut":         {`[` + event + `,`, "application/json", 400, []string{"not JSON"}},
		"two values":                   {event + event, "application/json", 400, []string{"not JSON"}},
		"not JSON":                     {"topic=a", "application/json", 400, []string{"not JSON"}},
		"a byte order mark":            {"\ufeff" + event, "application/json", 400, []string{"not JSON"}},
		"null":                         {"null", "application/json", 400, []string{"object, not null"}},
		"a number":                     {"7", "application/json", 400, []string{"object, not number"}},
		"a string":                     {`"a"`, "application/json", 400, []string{"object, not string"}},
		"an empty array":               {"[]", "application/json", 400, []string{"no event"}},
		"null in an array":             {`[` + event + `,null]`, "application/json", 400, []string{"event 1", "object, not null"}},
		"an array in an array":         {`[[` + event + `]]`, "application/json", 400, []string{"event 0", "object, not array"}},
		"too many":                     {`[` + strings.Repeat(event+",", 1000) + event + `]`, "application/json", 400, []string{"1001", "at most 1000"}},
		"a field unknown":              {`{"topic":"a","type":"t","paylod":{}}`, "application/json", 400, []string{`"paylod"`, "payload"}},
		"no topic":                     {`{"type":"t"}`, "application/json", 400, []string{"topic and type must be given"}},
		"topic null":                   {`{"topic":null,"type":"t"}`, "application/json", 400, []string{"topic and type must be given"}},
		"no type":                      {`{"topic":"a"}`, "application/json", 400, []string{"topic and type must be given"}},
		"topic a number":               {`{"topic":1,"type":"t"}`, "application/json", 400, []string{"topic", "string", "number"}},
		"headers a string":             {`{"topic":"a","type":"t","headers":"h"}`, "application/json", 400, []string{"headers", "string"}},
		"headers with numbers":         {`{"topic":"a","type":"t","headers":{"h":1}}`, "application/json", 400, []string{"headers", "number"}},
		"deliver_at no time":           {`{"topic":"a","type":"t","deliver_at":"tomorrow"}`, "application/json", 400, []string{`"tomorrow" is not a time`, "RFC 3339", "deliver_at"}},
		"topic not UTF-8":              {"{\"topic\":\"a\xff\",\"type\":\"t\"}", "application/json", 400, []string{"UTF-8"}},
		"both keys":                    {`{"topic":"a","type":"t","dedup_key":"k"}`, "key", 400, []string{"Idempotency-Key or dedup_key"}},
		"cloud without topic":          {`{"specversion":"1.0","id":"1","type":"t","source":"/"}`, "application/cloudevents+json", 400, []string{"topic", "extension"}},
		"cloud without source":         {`{"specversion":"1.0","id":"1","type":"t","topic":"a"}`, "application/cloudevents+json", 400, []string{"source must be given"}},
		"cloud of a version":           {strings.Replace(cloud(""), "1.0", "0.3", 1), "application/cloudevents+json", 400, []string{"1.0", "0.3"}},
		"cloud version a number":       {strings.Replace(cloud(""), `"1.0"`, "1", 1), "application/cloudevents+json", 400, []string{"specversion must be a string"}},
		"cloud with data_base64":       {cloud(`,"data_base64":"AA=="`), "application/cloudevents+json", 400, []string{"data_base64", "JSON"}},
		"cloud of XML":                 {cloud(`,"datacontenttype":"application/xml","data":"<a/>"`), "application/cloudevents+json", 400, []string{"application/xml"}},
		"cloud with a number":          {cloud(`,"extension":7`), "application/cloudevents+json", 400, []string{"extension must be a string"}},
		"one of many cloud events":     {"[" + cloud("") + "," + cloud(`,"extension":{}`) + "]", "application/cloudevents-batch+json", 400, []string{"event 1", "extension must be a string"}},
		"topic empty":                  {`{"topic":"","type":"t"}`, "application/json", 422, []string{"1 to 255 bytes"}},
		"topic with an empty segment":  {`{"topic":"a//b","type":"t"}`, "application/json", 422, []string{"none empty"}},
		"topic with a star":            {`{"topic":"a/*","type":"t"}`, "application/json", 422, []string{`"*"`}},
		"topic with LF":                {`{"topic":"a\n","type":"t"}`, "application/json", 422, []string{"control characters"}},
		"topic with NUL":               {`{"topic":"a\u0000","type":"t"}`, "application/json", 422, []string{"0x00"}},
		"type of the server's own":     {`{"topic":"a","type":"outcrier.live"}`, "application/json", 422, []string{`"outcrier."`}},
		"type too long":                {`{"topic":"a","type":"` + strings.Repeat("t", 256) + `"}`, "application/json", 422, []string{"1 to 255 bytes"}},
		"source with CR":               {`{"topic":"a","type":"t","source":"/\r"}`, "application/json", 422, []string{"control characters"}},
		"headers too long":             {`{"topic":"a","type":"t","headers":{"h":"` + strings.Repeat("h", 17000) + `"}}`, "application/json", 422, []string{"16384 bytes"}},
		"dedup_key too long":           {`{"topic":"a","type":"t","dedup_key":"` + strings.Repeat("k", 256) + `"}`, "application/json", 422, []string{"at most 255 bytes"}},
		"payload not UTF-8":            {"{\"topic\":\"a\",\"type\":\"t\",\"payload\":\"\xff\"}", "application/json", 0, []string{"UTF"}},
		"one of many is refused":       {`[` + event + `,{"topic":"/","type":"t"}]`, "application/json", 422, []string{"none empty"}},
		"cloud with control character": {cloud(`,"data":1`)[:len(cloud(""))-1] + `,"type":"t\u0001"}`, "application/cloudevents+json", 422, []string{"control characters"}},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Content-Type", test.media}
			switch test.media {
			case "":
				headers = []string{"Content-Type", ""}
			case "gzip":
				headers = []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}
			case "key":
				headers = []string{"Content-Type", "application/json", "Idempotency-Key", "k"}
			}
			var a answer
			if name == "too large" {
				// The body does not follow: a client that writes on may not see the answer.
				a, _ = n.send(t, n.ask("POST /events", "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(test.body))))
			} else {
				a = n.post(t, test.body, headers...)
			}
			if test.status == 0 && (a.status == 400 || a.status == 422) {
				test.status = a.status
			}
			a.wantProblem(t, test.status, test.says...)
			if rows := n.count(t); rows != 0 {
				t.Errorf("%d rows are stored: %q", rows, n.stored(t))
				if _, err := n.pool.Exec(t.Context(), `TRUNCATE outcrier.event, outcrier.scheduled`); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAppend_StoresBothForms(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	ids := n.post(t, `{"topic":"a","type":"one","payload":{ "n" : 1.0 },"source":"/s","headers":{"h":"v"},"dedup_key":"k"}`).ids(t)
	ids = append(ids, n.post(t, ` [{"topic":"a","type":"two"},{"topic":"b","type":"three","payload":null}] `).ids(t)...)
	ids = append(ids, n.post(t, `{"specversion":"1.0","id":"x","time":"2020-01-01T00:00:00Z","topic":"a","type":"four","source":"/c","datacontenttype":"application/json","traceparent":"00","data":[ 1 ]}`,
		"Content-Type", "application/cloudevents+json; charset=utf-8").ids(t)...)
	ids = append(ids, n.post(t, `[{"specversion":"1.0","topic":"a","type":"five","source":"/c"}]`, "Content-Type", "application/cloudevents-batch+json").ids(t)...)
	want := []string{
		`a one { "n" : 1.0 } /s {"h": "v"} k`, `a two {} / - -`, `b three null / - -`,
		`a four [ 1 ] /c {"traceparent": "00"} -`, `a five {} /c - -`,
	}
	if got := n.stored(t); !slices.Equal(got, want) {
		t.Errorf("stored are\n%q, want\n%q", got, want)
	}
	if len(ids) != 5 || !slices.IsSorted(ids) {
		t.Errorf("ids %v", ids)
	}
	if ids := n.post(t, `{"topic":"a","type":"later","deliver_at":"2099-01-01T00:00:00Z"}`).ids(t); len(ids) != 1 || n.count(t) != 6 || len(n.stored(t)) != 5 {
		t.Errorf("scheduled %v, stored %q", ids, n.stored(t))
	}
}

func TestAppend_IdempotencyKeyTwiceStoresOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for i, body := range []string{`{"topic":"a","type":"t"}`, `[{"topic":"a","type":"t"},{"topic":"a","type":"u"}]`} {
		key := fmt.Sprintf("key %d", i)
		first := n.post(t, body, "Idempotency-Key", key).ids(t)
		before := n.count(t)
		if again := n.post(t, body, "Idempotency-Key", key).ids(t); !slices.Equal(first, again) || n.count(t) != before {
			t.Errorf("first %v, again %v, %d and then %d rows", first, again, before, n.count(t))
		}
	}
	if rows := n.count(t); rows != 3 {
		t.Errorf("%d rows", rows)
	}
}

// A key is one event's. A retry of it gets its id, also when more is in the request, and
// anything else under the key is refused, with the key, and stores nothing.
func TestAppend_AKeyOfAnotherEventIsAConflict(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	first := n.post(t, `{"topic":"a","type":"t","payload":1}`, "Idempotency-Key", "k").ids(t)
	scheduled := n.post(t, `{"topic":"a","type":"t","deliver_at":"2099-01-01T00:00:00Z"}`, "Idempotency-Key", "later").ids(t)
	if again := n.post(t, `{"topic":"a","type":"t","payload":2}`, "Idempotency-Key", "k").ids(t); !slices.Equal(first, again) {
		t.Errorf("first %v, again %v", first, again)
	}
	if again := n.post(t, `[{"topic":"b","type":"u"},{"topic":"a","type":"t","dedup_key":"k"}]`).ids(t); again[1] != first[0] {
		t.Errorf("first %v, again %v", first, again)
	}
	if again := n.post(t, `{"topic":"a","type":"t"}`, "Idempotency-Key", "later").ids(t); !slices.Equal(scheduled, again) {
		t.Errorf("scheduled %v, again %v", scheduled, again)
	}
	stored := n.count(t)
	for body, key := range map[string]string{
		`{"topic":"b","type":"t"}`: "k", `{"topic":"a","type":"u"}`: "k", `{"topic":"a","type":"other"}`: "later",
		`[{"topic":"b","type":"fine"},{"topic":"b","type":"t","dedup_key":"k"}]`:                  "",
		`[{"topic":"a","type":"t","dedup_key":"new"},{"topic":"a","type":"u","dedup_key":"new"}]`: "",
		`{"specversion":"1.0","topic":"b","type":"t","source":"/s","id":"1"}`:                     "k",
	} {
		says := key
		if key == "" {
			says = "dedup_key"
		}
		n.post(t, body, append([]string{}, map[bool][]string{true: {"Idempotency-Key", key}}[key != ""]...)...).wantProblem(t, 409, says, "another topic or type")
	}
	if got := n.count(t); got != stored {
		t.Errorf("%d rows are stored, want %d", got, stored)
	}
}

// sqlError is an error of Postgres.
type sqlError string

func (e sqlError) Error() string    { return "ERROR: " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

// A failure that may pass when the request is repeated says so, and is logged below the
// level of warnings.
func TestAppend_WhatMayPassIsToBeTriedAgain(t *testing.T) {
	t.Parallel()
	for code, says := range map[sqlError]string{"40001": "again", "40P01": "again", "57P01": "not available", "23505": "not available"} {
		var log testkit.Log
		config := handlers.Config{
			Streamer: sse.NewStreamer(hub.New(&hub.Buffer{}), nil), Access: handlers.Access{Open: true}, MaxBody: maxBody,
			Log:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Append: func(context.Context, []outbox.Draft) ([]int64, error) { return nil, fmt.Errorf("append: %w", code) },
		}
		server := httptest.NewServer(handlers.New(config))
		a := do(t, "POST", server.URL+"/events", `{"topic":"a","type":"t"}`, "Content-Type", "application/json")
		server.Close()
		a.wantProblem(t, 503, "not appended", says)
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", code)
		}
		if alarms := log.String() != ""; alarms != (says != "again") {
			t.Errorf("%s: the log says %q", code, log.String())
		}
	}
}
