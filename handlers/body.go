package handlers

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// readBody reads a body of at most `most` bytes, of one of the media types.
func (h *handlers) readBody(c echo.Context, most int64, types ...string) ([]byte, error) {
	request := c.Request()
	media, _, err := mime.ParseMediaType(request.Header.Get(echo.HeaderContentType))
	if err != nil || !slices.Contains(types, media) {
		return nil, fault(http.StatusUnsupportedMediaType, "Content-Type must be "+strings.Join(types, " or "))
	}
	if coding := request.Header.Get(echo.HeaderContentEncoding); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, fault(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %.40q is not supported: send the body uncompressed", coding))
	}
	if request.ContentLength > most { // before any of it is read
		return nil, fault(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", most))
	}
	body, err := h.readAll(c, http.MaxBytesReader(c.Response(), request.Body, most))
	var tooLarge *http.MaxBytesError
	var known *echo.HTTPError
	switch {
	case errors.As(err, &known):
		return nil, err
	case errors.As(err, &tooLarge):
		return nil, fault(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", most))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fault(http.StatusRequestTimeout, fmt.Sprintf("the body did not come within %s", h.Access.Limits.BodyTime))
	case err != nil:
		return nil, fault(http.StatusBadRequest, "the body could not be read")
	case !utf8.Valid(body):
		return nil, fault(http.StatusBadRequest, "the body is not UTF-8")
	case nestsDeeper(body, bodyLevels):
		return nil, fault(http.StatusUnprocessableEntity, fmt.Sprintf("JSON nests deeper than %d levels: a payload may have 64", bodyLevels))
	}
	// Otherwise the deadline of the body would end the request.
	_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Time{})
	return body, nil
}

// bodyLevels is how deep a body may nest: an array of events, whose payloads have the 64
// levels that the outbox takes. Deeper ones are not parsed.
const bodyLevels = 2 + 64

// nestsDeeper reports whether JSON nests deeper than that. It allocates nothing, and of text
// that is not JSON it may say either.
func nestsDeeper(text []byte, most int) bool {
	level, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '[' || b == '{':
			if level++; level > most {
				return true
			}
		case b == ']' || b == '}':
			level--
		}
	}
	return false
}
