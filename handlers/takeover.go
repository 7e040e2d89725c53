package handlers

import (
	"bytes"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/sse"
)

// takeOver takes the connection over from net/http, which would keep a goroutine and two
// buffers for it. It returns nil where that is not possible.
func takeOver(request *http.Request, response *echo.Response) *sse.Socket {
	conn, _, err := http.NewResponseController(response.Writer).Hijack()
	if err != nil {
		return nil
	}
	response.Committed = true
	_ = conn.SetDeadline(time.Time{}) // remove the deadline of the request's header; a closed connection shows soon enough
	header := response.Header()
	// HTTP/1.0 has no chunks: there the body ends with the connection (RFC 9112, 6.3). With
	// chunks, don't send "Connection: close": undici takes a connection that breaks off for
	// the end of such a response.
	chunked := request.ProtoAtLeast(1, 1)
	if chunked {
		header.Set("Transfer-Encoding", "chunked")
	} else {
		header.Set(echo.HeaderConnection, "close")
	}
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = header.Write(&head)
	head.WriteString("\r\n")
	return sse.NewSocket(conn, head.Bytes(), chunked)
}

// responseWriter is an sse.Writer.
type responseWriter struct {
	http.ResponseWriter
	*http.ResponseController
}

// Flush is the ResponseController's: both embedded types have one.
func (w responseWriter) Flush() error { return w.ResponseController.Flush() }
