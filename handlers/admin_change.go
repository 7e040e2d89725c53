package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/sse/wire"
)

// errEnded is the goodbye of a stream that an admin ends.
var errEnded error = &wire.Goodbye{Reason: "ended", Text: "an admin ended the stream"}

// endStream is DELETE /admin/api/streams/:run/:stream. The stream may be at another node,
// which learns of it through the table, and so the answer is 202.
func (h *handlers) endStream(c echo.Context, who identity) error {
	if _, err := queryOf(c); err != nil {
		return err
	}
	run, err := whole("run", c.Param("run"))
	if err != nil {
		return err
	}
	stream, err := whole("stream", c.Param("stream"))
	if err != nil {
		return err
	}
	open := false
	if h.Audit == nil {
		open = run == 0 && stream > 0 && h.unaudited.end(stream, "") > 0
	} else if open, err = h.Admin.EndStream(c.Request().Context(), run, stream, who.name()); err != nil {
		return err
	}
	if !open {
		return fault(http.StatusNotFound, "no such stream is open")
	}
	h.changed(c, who, "end a stream", "run", run, "stream", stream)
	return c.NoContent(http.StatusAccepted)
}

// cancel is DELETE /admin/api/scheduled/:id.
func (h *handlers) cancel(c echo.Context, who identity) error {
	if _, err := queryOf(c); err != nil {
		return err
	}
	id, err := whole("the scheduled event's id", c.Param("id"))
	if err != nil {
		return err
	}
	waited, err := h.Admin.Cancel(c.Request().Context(), id)
	if err != nil {
		return err
	}
	if !waited {
		return fault(http.StatusNotFound, "no such event is scheduled: it was delivered or cancelled before")
	}
	h.changed(c, who, "cancel a scheduled event", "id", id)
	return c.NoContent(http.StatusNoContent)
}

// editable is GET /admin/api/catalogue: the entries as they are now, with the updated_at
// that a change of them needs.
func (h *handlers) editable(c echo.Context, _ identity) error {
	if _, err := queryOf(c); err != nil {
		return err
	}
	types, err := h.Admin.EventTypes(c.Request().Context())
	return h.answer(c, Types{append([]catalogue.EventType{}, types...)}, err)
}

// createType is POST /admin/api/catalogue.
func (h *handlers) createType(c echo.Context, who identity) error {
	entry, err := h.readType(c)
	if err != nil {
		return err
	}
	if entry, err = h.Admin.CreateEventType(c.Request().Context(), entry); err != nil {
		return err
	}
	h.changed(c, who, "create a type", "type", entry.Type)
	return c.JSON(http.StatusCreated, entry)
}

// changeType is PUT /admin/api/catalogue/:type. The body's updated_at is that of the entry
// as it was read: a newer entry is not overwritten.
func (h *handlers) changeType(c echo.Context, who identity) error {
	entry, err := h.readType(c)
	if err != nil {
		return err
	}
	switch name, err := typeParam(c); {
	case err != nil:
		return err
	case entry.Type != name:
		return fault(http.StatusBadRequest, "a type can't be renamed: type must be that of the path")
	case entry.UpdatedAt.IsZero():
		return fault(http.StatusBadRequest, "updated_at must be given, as it was read")
	}
	if entry, err = h.Admin.ChangeEventType(c.Request().Context(), entry); err != nil {
		return err
	}
	h.changed(c, who, "change a type", "type", entry.Type)
	return c.JSON(http.StatusOK, entry) // it is done, whether or not there is room for the answer
}

// deleteType is DELETE /admin/api/catalogue/:type?updated_at=….
func (h *handlers) deleteType(c echo.Context, who identity) error {
	query, err := queryOf(c, "updated_at")
	if err != nil {
		return err
	}
	name, err := typeParam(c)
	if err != nil {
		return err
	}
	at, err := moment("updated_at", query.Get("updated_at"))
	if err != nil {
		return err
	}
	if at.IsZero() {
		return fault(http.StatusBadRequest, "updated_at must be given, as it was read")
	}
	if err := h.Admin.DeleteEventType(c.Request().Context(), name, at); err != nil {
		return err
	}
	h.changed(c, who, "delete a type", "type", name)
	return c.NoContent(http.StatusNoContent)
}

// typeParam returns the type in the path.
func typeParam(c echo.Context) (string, error) {
	name := c.Param("type")
	if c.Request().URL.RawPath == "" {
		return name, nil // an invalid escape stays as it is
	}
	plain, err := url.PathUnescape(name)
	if err != nil {
		return "", fault(http.StatusBadRequest, "the type of the path is not well-formed")
	}
	return plain, nil
}

// maxEntry is the largest entry of the catalogue, in bytes.
const maxEntry = 128 << 10

func (h *handlers) readType(c echo.Context) (entry catalogue.EventType, err error) {
	entry = catalogue.EventType{Severity: "info", Action: "none"}
	err = h.adminBody(c, maxEntry, &entry, "type, code, title, description, severity, action and payload_schema")
	if entry.Code != nil && *entry.Code == "" {
		entry.Code = nil
	}
	return entry, err
}

// maxAdminBody is the largest body of the admin's API, in bytes: an event's payload may
// have a MiB.
const maxAdminBody = 2 << 20

// adminBody reads a JSON object of known fields, of at most `most` bytes, into value.
func (h *handlers) adminBody(c echo.Context, most int64, value any, fields string) error {
	if _, err := queryOf(c); err != nil {
		return err
	}
	body, err := h.readBody(c, most, "application/json")
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(value); err == nil {
		err = nothingMore(decoder)
	}
	switch {
	case errors.Is(err, io.EOF):
		return fault(http.StatusBadRequest, "the body is empty")
	case err != nil:
		detail := strings.TrimPrefix(jsonFault(err).Error(), "json: ")
		return fault(http.StatusBadRequest, detail+"; allowed are "+fields)
	}
	return nil
}

// nothingMore returns an error if the decoder has more input.
func nothingMore(decoder *json.Decoder) error {
	switch _, err := decoder.Token(); {
	case err == nil:
		return errors.New("the body holds more than one object")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// name returns the name of an admin for the records.
func (w identity) name() string {
	if w.Subject != "" {
		return w.Subject
	}
	return w.address
}
