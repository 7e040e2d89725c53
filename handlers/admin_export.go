package handlers

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox/admin"
)

const (
	// exportLimit and exportMost are how many events an export has by default, and at most.
	exportLimit, exportMost = 10_000, 100_000
	// exportPage is how many events are read at once, and exportBytes about how many bytes
	// of payloads.
	exportPage, exportBytes = 200, 2 << 20
)

// export is GET /admin/api/export: all events of a search, as a file.
func (h *handlers) export(c echo.Context, who identity) error {
	query, err := queryOf(c, "format", "topic", "type", "from", "until", "text", "limit")
	if err != nil {
		return err
	}
	search, err := search(query)
	if err != nil {
		return err
	}
	limit, err := number(query.Get("limit"), exportLimit, 1, exportMost)
	if err != nil {
		return fault(http.StatusBadRequest, "limit "+err.Error())
	}
	var file exporter
	media, format := "text/csv; charset=utf-8", query.Get("format")
	switch format {
	case "csv":
		file = &csvExport{csv.NewWriter(c.Response())}
	case "json":
		media, file = echo.MIMEApplicationJSON, &jsonExport{w: c.Response()}
	default:
		return fault(http.StatusBadRequest, fmt.Sprintf("format %.100q is not known; allowed are csv and json", format))
	}
	if search.Bytes, err = h.reservePage(c, exportBytes); err != nil {
		return err
	}
	ctx, events := c.Request().Context(), 0
	for search.Whole, search.Limit = true, min(limit, exportPage); ; {
		found, err := h.Admin.Search(ctx, search)
		if err == nil && events == 0 && !c.Response().Committed {
			header := c.Response().Header()
			header.Set(echo.HeaderContentType, media)
			header.Set(echo.HeaderContentDisposition, fmt.Sprintf("attachment; filename=outcrier-%s.%s", time.Now().UTC().Format("20060102T150405Z"), format))
			err = file.begin()
		}
		if err != nil {
			return err // once begun, the answer is cut off
		}
		for _, hit := range found.Events {
			if err := file.add(hit); err != nil {
				return err
			}
		}
		events += len(found.Events)
		// Events beyond the bytes of a page are read again for the next one.
		page := exportPage
		if n := len(found.Events); n > 0 {
			page = min(page, 2*n)
		}
		search.Cursor, search.Limit = found.Next, min(limit-events, page)
		if found.Next == "" || search.Limit == 0 {
			h.changed(c, who, "export events", "events", events)
			return file.end(found.Next == "")
		}
	}
}

// exporter writes a file.
type exporter interface {
	begin() error
	add(admin.Hit) error
	// end is called after the last event; complete reports whether all found events were
	// written.
	end(complete bool) error
}

type csvExport struct{ w *csv.Writer }

func (e *csvExport) begin() error {
	return e.w.Write([]string{"id", "created_at", "topic", "type", "source", "headers", "publisher", "payload"})
}

func (e *csvExport) add(hit admin.Hit) error {
	headers, publisher := "", ""
	if hit.Publisher != nil {
		publisher = *hit.Publisher
	}
	if hit.Headers != nil {
		text, err := json.Marshal(hit.Headers)
		if err != nil {
			return err
		}
		headers = string(text)
	}
	return e.w.Write([]string{
		strconv.FormatInt(hit.ID, 10), hit.CreatedAt.UTC().Format(time.RFC3339Nano), noFormula(hit.Topic), noFormula(hit.Type), noFormula(hit.Source), headers, noFormula(publisher), noFormula(hit.Payload),
	})
}

func (e *csvExport) end(bool) error {
	e.w.Flush()
	return e.w.Error()
}

// noFormula keeps a spreadsheet from reading a field as a formula.
func noFormula(field string) string {
	if field != "" && strings.ContainsRune("=+-@\t\r", rune(field[0])) {
		return "'" + field
	}
	return field
}

type jsonExport struct {
	w    io.Writer
	more bool
}

func (e *jsonExport) begin() error {
	_, err := io.WriteString(e.w, `{"events":[`)
	return err
}

func (e *jsonExport) add(hit admin.Hit) error {
	text, err := json.Marshal(struct {
		ID        int64             `json:"id"`
		CreatedAt time.Time         `json:"created_at"`
		Topic     string            `json:"topic"`
		Type      string            `json:"type"`
		Source    string            `json:"source"`
		Headers   map[string]string `json:"headers"`
		Publisher *string           `json:"publisher"`
		Payload   json.RawMessage   `json:"payload"`
	}{hit.ID, hit.CreatedAt, hit.Topic, hit.Type, hit.Source, hit.Headers, hit.Publisher, json.RawMessage(hit.Payload)})
	if err != nil {
		return err
	}
	if e.more {
		text = append([]byte(",\n"), text...)
	}
	e.more = true
	_, err = e.w.Write(text)
	return err
}

func (e *jsonExport) end(complete bool) error {
	_, err := fmt.Fprintf(e.w, `],"complete":%v}`, complete)
	return err
}
