package handlers

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/labstack/echo/v4"
)

// compresses reports whether to compress the answer, and sets its headers accordingly.
func (h *handlers) compresses(c echo.Context) bool {
	if !h.Gzip {
		return false
	}
	header := c.Response().Header()
	header.Add(echo.HeaderVary, echo.HeaderAcceptEncoding)
	if !acceptsGzip(c.Request().Header.Values(echo.HeaderAcceptEncoding)) {
		return false
	}
	header.Set(echo.HeaderContentEncoding, "gzip")
	return true
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3). Without it there is no compression,
// though any is allowed then: such a client may not know gzip.
func acceptsGzip(accept []string) bool {
	others := false
	for _, field := range accept {
		for coding := range strings.SplitSeq(field, ",") {
			name, parameters, _ := strings.Cut(coding, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				return weighs(parameters)
			case "*":
				others = weighs(parameters)
			}
		}
	}
	return others
}

// weighs reports whether the weight of a coding is above 0, which is also the case without
// one.
func weighs(parameters string) bool {
	name, value, found := strings.Cut(parameters, "=")
	if !found || strings.ToLower(strings.TrimSpace(name)) != "q" {
		return true
	}
	weight, err := strconv.ParseFloat(strings.TrimSpace(value), 32)
	return err == nil && weight > 0
}

// compressed returns a complete answer in gzip.
func compressed(answer [][]byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	var err error
	for _, part := range answer {
		if _, err = w.Write(part); err != nil {
			break
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // writing to a Buffer can't fail
	}
	return out.Bytes()
}
