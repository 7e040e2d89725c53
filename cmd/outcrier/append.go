package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
)

// appendConfig is the settings of "outcrier append". The schema checks the limits of a
// draft; here only required settings are checked.
type appendConfig struct {
	DatabaseSettings
	RemoteSettings
	Topic     string            `scope:"append" name:"topic" help:"what clients select on, like user/42"`
	Type      string            `scope:"append" name:"type" help:"what happened, like audit.approved"`
	Payload   string            `scope:"append" name:"payload" default:"-" secret:"true" help:"the payload's JSON; - reads standard input"`
	Source    string            `scope:"append" name:"source" default:"/" help:"which system, service or component it comes from (a URI reference)"`
	Headers   map[string]string `scope:"append" name:"header" help:"a header of the event, like traceparent=…"`
	DedupKey  string            `scope:"append" name:"dedup-key" help:"a second append with the same key stores nothing"`
	DeliverAt time.Time         `scope:"append" name:"deliver-at" help:"when to deliver it; at once by default"`
	LogSettings
}

func (c *appendConfig) check(r *report) {
	c.RemoteSettings.check(r, &c.ConnectionSettings)
	c.DatabaseSettings.check(r)
	r.require("topic", c.Topic)
	r.require("type", c.Type)
	if _, nameless := c.Headers[""]; nameless {
		r.reject("header", "want a name before the =")
	}
	if c.Payload != "-" && !json.Valid([]byte(c.Payload)) {
		r.reject("payload", `want JSON, like '{"submission": 7}', or - for standard input`)
	}
}

// payload is the event's JSON, from stdin where the settings say so. Empty
// input is an error, not an empty payload: it comes from a pipe that failed.
func (c appendConfig) payload(stdin io.Reader) (json.RawMessage, error) {
	if c.Payload != "-" {
		return json.RawMessage(c.Payload), nil
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxStdin+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read payload from standard input: %w", err)
	case len(text) == 0:
		return nil, errors.New("standard input is empty, want the payload's JSON ({} for none)")
	case len(text) > maxStdin:
		return nil, fmt.Errorf("standard input is longer than %d bytes", maxStdin)
	case !json.Valid(text):
		return nil, errors.New("standard input is not JSON")
	}
	return text, nil
}

func (c appendConfig) Run(ctx context.Context, p process) error {
	payload, err := c.payload(p.input(ctx, "the payload as JSON"))
	if err != nil {
		return err
	}
	draft := outbox.Draft{
		Topic: c.Topic, Type: c.Type, Payload: payload, Source: c.Source,
		Headers: c.Headers, DedupKey: c.DedupKey, DeliverAt: c.DeliverAt,
	}
	if c.URL != "" {
		return c.post(ctx, p.stdout, draft)
	}
	var ids []int64
	err = c.withPool(func(pool *pgxpool.Pool) error {
		return outbox.InTransaction(ctx, pool, func(tx pgx.Tx) error {
			ids, err = c.Schema.Append(ctx, tx, draft)
			return err
		})
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, ids[0])
	return err
}

// post appends by way of a server.
func (c appendConfig) post(ctx context.Context, stdout io.Writer, draft outbox.Draft) error {
	target, err := url.JoinPath(c.URL, "events")
	if err != nil {
		return err
	}
	event := map[string]any{"topic": draft.Topic, "type": draft.Type, "source": draft.Source, "dedup_key": draft.DedupKey}
	if draft.Headers != nil {
		event["headers"] = draft.Headers
	}
	if !draft.DeliverAt.IsZero() {
		event["deliver_at"] = draft.DeliverAt
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	// Appended unchanged after the rest: encoding/json would remove its white space.
	body = fmt.Appendf(body[:len(body)-1], `,"payload":%s}`, draft.Payload)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	c.authorize(request)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		IDs    []int64
		Detail string
	}
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer) // a proxy may answer with anything
	if response.StatusCode != http.StatusCreated || len(answer.IDs) != 1 {
		return fmt.Errorf("the server answers %s: %s", response.Status, answer.Detail)
	}
	_, err = fmt.Fprintln(stdout, answer.IDs[0])
	return err
}
