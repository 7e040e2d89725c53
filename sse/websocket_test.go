package sse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gobwas/ws"
)

// asSSE is what a stream of SSE would be that says the same as the frames of a WebSocket, as
// far as they have come; lengths are those of the text when sent ended at each of ends. It panics
// where the server would never write so.
func asSSE(sent []byte, ends []int) (text []byte, lengths []int) {
	text = []byte(": outcrier\n")
	defer func() {
		for range len(ends) - len(lengths) {
			lengths = append(lengths, len(text))
		}
	}()
	r, position := bytes.NewReader(sent), ""
	for r.Len() > 0 {
		h, err := ws.ReadHeader(r)
		if err != nil || int64(r.Len()) < h.Length {
			return text, lengths // in the middle
		}
		if err := ws.CheckHeader(h, ws.StateClientSide); err != nil || !h.Fin {
			panic(fmt.Sprintf("%v: %+v", err, h))
		}
		payload := make([]byte, h.Length)
		_, _ = io.ReadFull(r, payload)
		for len(lengths) < len(ends) && ends[len(lengths)] < len(sent)-r.Len() {
			lengths = append(lengths, len(text))
		}
		switch h.OpCode {
		case ws.OpText:
			var event string
			if event, position = messageAsSSE(payload, position); event == "" {
				event = ":\n"
			}
			text = append(text, event...)
		case ws.OpPing, ws.OpPong, ws.OpClose:
		default:
			panic(fmt.Sprintf("%+v", h))
		}
	}
	return text, lengths
}

// messageAsSSE is the event that a message is, empty for a heartbeat, and its position. That
// of the message before is known.
func messageAsSSE(payload []byte, known string) (event, position string) {
	var m struct {
		Position string
		Event    json.RawMessage
	}
	var e struct {
		Type, SpecVersion string
		Data              json.RawMessage
	}
	var own struct {
		Retry  *int64
		Reason string
	}
	if err := errors.Join(json.Unmarshal(payload, &m), json.Unmarshal(m.Event, &e)); err != nil {
		panic(err)
	}
	if e.Type == "outcrier.position" && m.Position == known {
		return "", known
	}
	data, retry, id := e.Data, "", "id: "+m.Position+"\n"
	if e.SpecVersion != "" {
		data = m.Event
	}
	if strings.HasPrefix(e.Type, "outcrier.") {
		if _ = json.Unmarshal(e.Data, &own); own.Retry != nil { // else it has none
			retry = fmt.Sprintf("retry: %d\n", *own.Retry)
		}
		if e.Type == "outcrier.goodbye" {
			data, id = fmt.Appendf(nil, "{\"reason\":%q}", own.Reason), ""
		}
	}
	return fmt.Sprintf("event: %s\n%sdata: %s\n%s\n", e.Type, retry, data, id), m.Position
}
