package handlers

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// readBody reads a body of one of the media types, of most bytes at most.
func (h *handlers) readBody(c echo.Context, most int64, types ...string) ([]byte, error) {
	request := c.Request()
	media, _, err := mime.ParseMediaType(request.Header.Get(echo.HeaderContentType))
	if err != nil || !slices.Contains(types, media) {
		return nil, fault(http.StatusUnsupportedMediaType, "Content-Type must be "+strings.Join(types, " or "))
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), request.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", most))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fault(http.StatusRequestTimeout, fmt.Sprintf("the body did not come within %s", h.Access.Limits.BodyTime))
	case err != nil:
		return nil, fault(http.StatusBadRequest, "the body could not be read")
	case !utf8.Valid(body):
		return nil, fault(http.StatusBadRequest, "the body is not UTF-8")
	}
	// The deadline of the body would end the request.
	_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Time{})
	return body, nil
}
