package handlers

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
)

// resentOf is the header of a copy that holds the id of the original.
const resentOf = "resentof"

// again is POST /admin/api/history/:id/again: a copy is appended, to the topic of the
// event or to another one.
func (h *handlers) again(c echo.Context, who identity) error {
	id, err := whole("the event's id", c.Param("id"))
	if err != nil {
		return err
	}
	var body struct {
		Topic string `json:"topic"`
		Key   string `json:"key"`
	}
	if err := h.adminBody(c, maxAdminBody, &body, "topic and key"); err != nil {
		return err
	}
	event, found, err := h.Admin.Event(c.Request().Context(), id)
	switch {
	case err != nil:
		return err
	case !found:
		return notHeld(id)
	}
	if verdict := h.memory(c).Take(bodyWeight * int64(len(event.Payload))); verdict != fair.Granted {
		return h.noRoom(c, verdict)
	}
	draft := outbox.Draft{Topic: event.Topic, Type: event.Type, Payload: json.RawMessage(event.Payload), Source: event.Source, Headers: map[string]string{}}
	maps.Copy(draft.Headers, event.Headers)
	draft.Headers[resentOf] = strconv.FormatInt(id, 10)
	if body.Topic != "" {
		draft.Topic = body.Topic
	}
	if body.Key != "" {
		draft.DedupKey = fmt.Sprintf("again/%d/%s", id, body.Key)
	}
	return h.appended(c, who, draft, "send an event again", "event", id)
}

// publish is POST /admin/api/events: it appends one event, for a test, with a source that
// says so.
func (h *handlers) publish(c echo.Context, who identity) error {
	var body struct {
		Topic     string          `json:"topic"`
		Type      string          `json:"type"`
		Payload   json.RawMessage `json:"payload"`
		DeliverAt time.Time       `json:"deliver_at"`
		Key       string          `json:"key"`
	}
	if err := h.adminBody(c, maxAdminBody, &body, "topic, type, payload, deliver_at and key"); err != nil {
		return err
	}
	draft := outbox.Draft{Topic: body.Topic, Type: body.Type, Source: "/admin", DeliverAt: body.DeliverAt}
	if body.Payload != nil {
		draft.Payload = body.Payload
	}
	if body.Key != "" {
		draft.DedupKey = "admin/" + body.Key
	}
	return h.appended(c, who, draft, "publish an event", "type", body.Type)
}

// appended appends on behalf of an admin, and answers with the id.
func (h *handlers) appended(c echo.Context, who identity, draft outbox.Draft, what string, more ...any) error {
	ids, err := h.Append(publishing(c.Request().Context(), who), []outbox.Draft{draft})
	if err != nil {
		return h.notAppended(c, err)
	}
	h.Traffic.Appends.Add(1)
	h.Traffic.Appended.Add(1)
	h.changed(c, who, what, append(more, "topic", draft.Topic, "id", ids[0])...)
	return c.JSON(http.StatusCreated, map[string]int64{"id": ids[0]})
}

func notHeld(id int64) error {
	return fault(http.StatusNotFound, fmt.Sprintf("no event %d is held: it was never committed, was erased, or is past retention", id))
}
