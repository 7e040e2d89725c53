package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Bounds of one request, and of one event in it. An event has seven members in our form, and
// in CloudEvents' one for each header.
const (
	maxDrafts  = 1000
	maxMembers = 128
)

// parseDrafts parses a body, one event after the other, and stops at the first that is not
// valid. With an idempotency key, each of several events gets the key with its index
// appended.
func parseDrafts(body []byte, key string) ([]outbox.Draft, error) {
	body = bytes.TrimSpace(body)
	if !json.Valid(body) {
		return nil, jsonFault(json.Unmarshal(body, new(json.RawMessage)))
	}
	if body[0] != '[' {
		draft, err := parseDraft(body)
		if err == nil && key != "" {
			err = bothKeys(draft)
			draft.DedupKey = key
		}
		if err != nil {
			return nil, err
		}
		return []outbox.Draft{draft}, nil
	}
	switch n := count(body); {
	case n == 0:
		return nil, errors.New("the array holds no event")
	case n > maxDrafts:
		return nil, fmt.Errorf("%d events, at most %d are allowed at once", n, maxDrafts)
	}
	var drafts []outbox.Draft
	for element := range parts(body) {
		draft, err := parseDraft(element)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(drafts), err)
		}
		if key != "" {
			if err := bothKeys(draft); err != nil {
				return nil, err
			}
			draft.DedupKey = key + "/" + strconv.Itoa(len(drafts))
		}
		drafts = append(drafts, draft)
	}
	return drafts, nil
}

func bothKeys(draft outbox.Draft) error {
	if draft.DedupKey != "" {
		return errors.New("give Idempotency-Key or dedup_key, not both")
	}
	return nil
}

// parts yields the elements of an array, or the members of an object, in valid JSON: pieces
// of the text, without copies. A scalar has none.
func parts(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if text[0] != '[' && text[0] != '{' {
			return
		}
		level, quoted, begin := 0, false, 1
		for i := 0; i < len(text); i++ {
			b := text[i]
			switch {
			case quoted && b == '\\':
				i++
			case b == '"':
				quoted = !quoted
			case quoted:
			case b == '[' || b == '{':
				level++
			case b == ']' || b == '}':
				level--
			}
			if quoted || level > 1 || level == 1 && b != ',' {
				continue
			}
			if part := bytes.TrimSpace(text[begin:i]); len(part) > 0 && !yield(part) {
				return
			}
			begin = i + 1
		}
	}
}

// count returns how many parts there are.
func count(text []byte) (n int) {
	for range parts(text) {
		n++
	}
	return n
}

// parseDraft parses one event in either form; those of CloudEvents have specversion.
func parseDraft(element json.RawMessage) (outbox.Draft, error) {
	if n := count(element); n > maxMembers && element[0] == '{' {
		return outbox.Draft{}, fmt.Errorf("an event of %d members, at most %d are allowed", n, maxMembers)
	}
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
		Topic     *string         `json:"topic"`
		Type      *string         `json:"type"`
		Payload   json.RawMessage `json:"payload"`
		Source    string          `json:"source"`
		Headers   json.RawMessage `json:"headers"`
		DedupKey  string          `json:"dedup_key"`
		DeliverAt time.Time       `json:"deliver_at"`
	}
	decoder := json.NewDecoder(bytes.NewReader(element))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&own); err != nil {
		return outbox.Draft{}, fmt.Errorf("%w; allowed are topic, type, payload, source, headers, dedup_key and deliver_at", jsonFault(err))
	}
	if own.Topic == nil || own.Type == nil {
		return outbox.Draft{}, errors.New("topic and type must be given")
	}
	headers, err := parseHeaders(own.Headers)
	if err != nil {
		return outbox.Draft{}, err
	}
	draft := outbox.Draft{
		Topic: *own.Topic, Type: *own.Type, Source: own.Source, Headers: headers,
		DedupKey: own.DedupKey, DeliverAt: own.DeliverAt,
	}
	if own.Payload != nil {
		draft.Payload = own.Payload
	}
	return draft, nil
}

// parseHeaders parses headers, which may be missing.
func parseHeaders(text json.RawMessage) (headers map[string]string, err error) {
	if text == nil {
		return nil, nil
	}
	if n := count(text); n > maxMembers {
		return nil, fmt.Errorf("%d headers, at most %d are allowed", n, maxMembers)
	}
	err = json.Unmarshal(text, &headers)
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		return nil, fmt.Errorf("headers must be an object whose values are strings, not %s", kind.Value)
	}
	return headers, err
}

// parseCloudEvent reads a CloudEvents 1.0 object (JSON Event Format, 3). The extension
// topic is ours and required; other extensions become headers. Its id and time are ignored:
// events get their own.
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

// jsonFault describes in plain words where a body is malformed.
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
