package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
)

// answerWeight is how many times an answer is in memory: as it was read, and as JSON.
const answerWeight = 2

// bodyWeight is how many times a body is in memory: as it was sent, as drafts, as arguments
// of SQL and on its way to Postgres.
const bodyWeight = 4

// newBuffered returns the limit on the memory of bodies and answers. There is room for one
// body in any case.
func newBuffered(limits Limits, maxBody int64) *fair.Bytes {
	all, each := limits.Buffered, limits.BufferedPerPrincipal
	if each > 0 {
		each = max(each, bodyWeight*maxBody)
	}
	if all > 0 {
		all = max(all, each, bodyWeight*maxBody)
	}
	return fair.NewBytes(all, each)
}

const shareKey = "share"

// memory returns the share of memory that a request holds for its principal; withMemory
// closes it.
func (h *handlers) memory(c echo.Context) *fair.Share {
	if share, ok := c.Get(shareKey).(*fair.Share); ok {
		return share
	}
	who, known := c.Get(identityKey).(identity)
	if !known {
		who.address = h.Access.Proxies.client(c.Request()).key()
	}
	share := h.buffered.Open(who.principal())
	c.Set(shareKey, share)
	return share
}

// withMemory closes the request's shares once its answer is written: that of its principal,
// and for a long request that of its address, since it is in memory until then.
func (h *handlers) withMemory(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		settled := false
		defer func() {
			if !settled { // it panics
				closeShares(c)
			}
		}()
		answer := next
		if verdict := h.admitted(c); verdict != fair.Granted {
			answer = h.tooLong(c, verdict)
		}
		err := answer(c)
		settled = true
		if err == nil {
			settle(c) // an error is answered by answerFault, which settles then
		}
		return err
	}
}

// admitted counts a long request, and reports whether there is memory for it.
func (h *handlers) admitted(c echo.Context) fair.Verdict {
	long := requestBytes(c.Request()) - requestFree
	if long <= 0 {
		return fair.Granted
	}
	share := h.buffered.Open(h.Access.Proxies.client(c.Request()).key())
	c.Set(requestKey, share)
	return share.Take(long)
}

// requestKey is where a request's context has the share of a long request.
const requestKey = "request"

// settle closes the shares of a request that is answered.
func settle(c echo.Context) {
	w, ours := c.Response().Writer.(*stallWriter)
	if _, long := c.Get(requestKey).(*fair.Share); long && ours && !w.own && !w.hijacked {
		// A short answer waits for its reader in net/http, which has the request until then.
		_ = w.FlushError() // there is no other answer any more
	}
	closeShares(c)
}

func closeShares(c echo.Context) {
	for _, key := range []string{shareKey, requestKey} {
		if share, ok := c.Get(key).(*fair.Share); ok {
			share.Close()
		}
	}
}

// requestFree is what the URL and the header of a request may have without being counted:
// more than browsers send with a token and their cookies.
const requestFree = 8 << 10

// requestBytes returns about what the URL and the header of a request hold.
func requestBytes(r *http.Request) (bytes int64) {
	bytes = int64(len(r.Method) + len(r.RequestURI))
	for name, values := range r.Header {
		for _, value := range values {
			bytes += int64(len(name) + len(value))
		}
	}
	return bytes
}

// tooLong returns the answer to a long request that there is no memory for. A client that
// asks for a stream learns when to come back. Over HTTP/2 any answer could wait for its reader
// together with the request, so there the stream is reset.
func (h *handlers) tooLong(c echo.Context, verdict fair.Verdict) echo.HandlerFunc {
	err, http2, stream := h.noRoom(c, verdict), c.Request().ProtoMajor >= 2, asksForStream(c)
	var refusal *echo.HTTPError
	if (http2 || stream) && errors.As(err, &refusal) {
		h.refused(c, refusal.Code, err, fmt.Sprint(refusal.Message))
	}
	if http2 {
		panic(http.ErrAbortHandler)
	}
	return h.securityHeaders(h.cors(func(c echo.Context) error {
		if stream {
			return turnAway(c, errNoRoomNow, tooManyRetry)
		}
		return err
	}))
}

// answer is c.JSON within the request's share of memory, since an answer is held until its
// reader has taken it. It refuses where there is no room, so it is for answers to questions,
// and not for the outcome of a change. It returns err if there is one.
func (h *handlers) answer(c echo.Context, value any, err error) error {
	if err != nil {
		return err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if verdict := h.memory(c).Take(answerWeight * int64(len(body))); verdict != fair.Granted {
		return h.noRoom(c, verdict)
	}
	return c.JSONBlob(http.StatusOK, body)
}

// reservePage takes memory for an answer that is read and written in pages of so many bytes,
// or fewer where a request may hold less, which it returns. The last event of a page may be
// more than that.
func (h *handlers) reservePage(c echo.Context, bytes int64) (int64, error) {
	for _, limit := range []int64{h.buffered.Each(), h.buffered.All()} {
		if limit > 0 {
			bytes = min(bytes, limit/bodyWeight)
		}
	}
	if verdict := h.memory(c).Take(bodyWeight * bytes); verdict != fair.Granted {
		return 0, h.noRoom(c, verdict)
	}
	return bytes, nil
}

// noRoom is the answer to a request that there is no memory for.
func (h *handlers) noRoom(c echo.Context, verdict fair.Verdict) error {
	if verdict == fair.OverOwn {
		return tooMany(c, time.Second, fmt.Sprintf("too many bytes of this principal's requests and answers are under way: allowed are %d (--max-buffered-per-principal)", h.buffered.Each()))
	}
	h.Access.Refusals.NoRoom.Add(1)
	return fault(http.StatusServiceUnavailable, fmt.Sprintf("too many bytes of requests and answers are under way: this node allows %d (--max-buffered)", h.buffered.All()))
}

// readAll reads a body into the request's share of memory, as it arrives, so that a body
// that is only announced holds none.
func (h *handlers) readAll(c echo.Context, body io.Reader) ([]byte, error) {
	const first = 16 << 10
	share, announced := h.memory(c), c.Request().ContentLength
	var read []byte
	for {
		if len(read) == cap(read) {
			size := max(first, 2*cap(read))
			if announced >= int64(len(read)) {
				size = min(size, int(announced)+1) // one more, to meet the end
			}
			if verdict := share.Take(bodyWeight * int64(size-cap(read))); verdict != fair.Granted {
				return nil, h.noRoom(c, verdict)
			}
			read = append(make([]byte, 0, size), read...)
		}
		n, err := body.Read(read[len(read):cap(read)])
		read = read[:len(read)+n]
		switch {
		case err == io.EOF: //nolint:errorlint // as io.ReadAll
			return read, nil
		case err != nil:
			return nil, err
		}
	}
}
