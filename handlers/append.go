package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
)

// append is POST /events: one event or an array of them, each in CloudEvents'
// JSON format or our own, all appended in one transaction.
func (h *handlers) append(c echo.Context, who caller) error {
	if h.Streamer.Draining() {
		return fault(http.StatusServiceUnavailable, "the server drains")
	}
	request := c.Request()
	body, err := h.readBody(c, h.MaxBody, mediaTypes...)
	if err != nil {
		return err
	}
	drafts, err := parseDrafts(body, request.Header.Get("Idempotency-Key"))
	if err != nil {
		return fault(http.StatusBadRequest, err.Error())
	}
	if err := who.mayPublish(drafts); err != nil {
		return err
	}
	if err := h.mayNow(c, who, drafts); err != nil {
		return err
	}
	ids, err := h.Append(request.Context(), drafts)
	if err != nil {
		return h.notAppended(c, err)
	}
	h.Traffic.Appends.Add(1)
	h.Traffic.Appended.Add(int64(len(ids)))
	return c.JSON(http.StatusCreated, Appended{ids})
}

// notAppended is what a client is told of an append that failed.
func (h *handlers) notAppended(c echo.Context, err error) error {
	var state interface{ SQLState() string }
	code := ""
	if errors.As(err, &state) {
		code = state.SQLState()
	}
	reason, refused := outbox.Refused(err)
	switch {
	case refused && code == uniqueViolation: // the dedup key is another event's
		return fault(http.StatusConflict, reason)
	case refused:
		return fault(http.StatusUnprocessableEntity, reason)
	case code == serializationFailure || code == deadlockDetected:
		h.Log.DebugContext(c.Request().Context(), "append failed", "err", err)
		return fault(http.StatusServiceUnavailable, "the events were not appended: another append claimed the same key at this moment; send the request again")
	}
	h.Log.ErrorContext(c.Request().Context(), "append failed", "err", err)
	return fault(http.StatusServiceUnavailable, "the events were not appended: the database is not available")
}

// SQLSTATEs that an append is answered by.
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
)

var mediaTypes = []string{"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}

// Appended is the answer to an append.
type Appended struct {
	// IDs has an id for each event, in their order: the event's, or that of the
	// scheduled event for one to be delivered later.
	IDs []int64 `json:"ids"`
}

// maxDrafts bounds one request.
const maxDrafts = 1000

// parseDrafts reads a body. With an idempotency key, each of several events has
// the key with its index behind it.
func parseDrafts(body []byte, key string) ([]outbox.Draft, error) {
	body = bytes.TrimSpace(body)
	var elements []json.RawMessage
	array := len(body) > 0 && body[0] == '['
	if !array {
		elements = []json.RawMessage{body}
	} else if err := json.Unmarshal(body, &elements); err != nil { // never into one that is the body
		return nil, jsonFault(err)
	}
	switch {
	case len(elements) == 0:
		return nil, errors.New("the array holds no event")
	case len(elements) > maxDrafts:
		return nil, fmt.Errorf("%d events, at most %d are allowed at once", len(elements), maxDrafts)
	}
	drafts := make([]outbox.Draft, 0, len(elements))
	for i, element := range elements {
		draft, err := parseDraft(element)
		switch {
		case err != nil && array:
			return nil, fmt.Errorf("event %d: %w", i, err)
		case err != nil:
			return nil, err
		case key != "" && draft.DedupKey != "":
			return nil, errors.New("give Idempotency-Key or dedup_key, not both")
		case key != "" && array:
			draft.DedupKey = key + "/" + strconv.Itoa(i)
		case key != "":
			draft.DedupKey = key
		}
		drafts = append(drafts, draft)
	}
	return drafts, nil
}

// parseDraft reads one event in either form; specversion tells them apart.
func parseDraft(element json.RawMessage) (outbox.Draft, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(element, &fields); err != nil {
		return outbox.Draft{}, jsonFault(err)
	}
	if fields == nil {
		return outbox.Draft{}, errors.New("an event must be a JSON object, not null")
	}
	if _, ok := fields["specversion"]; ok {
		return parseCloudEvent(fields)
	}
	var own struct {
		Topic     *string           `json:"topic"`
		Type      *string           `json:"type"`
		Payload   json.RawMessage   `json:"payload"`
		Source    string            `json:"source"`
		Headers   map[string]string `json:"headers"`
		DedupKey  string            `json:"dedup_key"`
		DeliverAt time.Time         `json:"deliver_at"`
	}
	decoder := json.NewDecoder(bytes.NewReader(element))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&own); err != nil {
		return outbox.Draft{}, fmt.Errorf("%w; allowed are topic, type, payload, source, headers, dedup_key and deliver_at", jsonFault(err))
	}
	if own.Topic == nil || own.Type == nil {
		return outbox.Draft{}, errors.New("topic and type must be given")
	}
	draft := outbox.Draft{
		Topic: *own.Topic, Type: *own.Type, Source: own.Source, Headers: own.Headers,
		DedupKey: own.DedupKey, DeliverAt: own.DeliverAt,
	}
	if own.Payload != nil {
		draft.Payload = own.Payload
	}
	return draft, nil
}

// parseCloudEvent reads a CloudEvents 1.0 object (JSON Event Format, 3). The
// extension topic is ours and must be given; other extensions become headers. Its
// id and time are the publisher's: events have their own.
func parseCloudEvent(fields map[string]json.RawMessage) (draft outbox.Draft, err error) {
	take := func(name string) (value string) {
		raw, given := fields[name]
		delete(fields, name)
		if given && err == nil && json.Unmarshal(raw, &value) != nil {
			err = fmt.Errorf("%s must be a string", name)
		}
		return value
	}
	version := take("specversion")
	draft.Topic, draft.Type, draft.Source = take("topic"), take("type"), take("source")
	if content := take("datacontenttype"); content != "" && content != "application/json" {
		return draft, fmt.Errorf("datacontenttype must be application/json, not %.100q", content)
	}
	take("id")
	take("time")
	if _, ok := fields["data_base64"]; ok {
		return draft, errors.New("data_base64 is not supported: data must be JSON")
	}
	if data, ok := fields["data"]; ok {
		draft.Payload = data
		delete(fields, "data")
	}
	for name := range fields {
		if draft.Headers == nil {
			draft.Headers = map[string]string{}
		}
		draft.Headers[name] = take(name)
	}
	switch {
	case err != nil:
		return draft, err
	case version != "1.0":
		return draft, fmt.Errorf("specversion must be 1.0, not %.20q", version)
	case draft.Topic == "" || draft.Type == "" || draft.Source == "":
		return draft, errors.New("topic, type and source must be given; topic is an extension attribute")
	}
	return draft, nil
}

// jsonFault says in plain words where a body is wrong.
func jsonFault(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var moment *time.ParseError
	switch {
	case errors.As(err, &moment):
		return fmt.Errorf("%.100q is not a time as RFC 3339 writes it, like 2026-11-22T02:00:00Z", moment.Value)
	case errors.As(err, &syntax):
		return fmt.Errorf("the body is not JSON: %w at byte %d", syntax, syntax.Offset)
	case errors.As(err, &kind):
		if kind.Field == "" {
			return fmt.Errorf("an event must be a JSON object, not %s", kind.Value)
		}
		return fmt.Errorf("%s must be a %s, not %s", kind.Field, kind.Type, kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the body is empty or cut short")
	}
	return err
}
