package handlers

import (
	"errors"
	"maps"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
)

// count calls a handler of another package, whose answer takes memory of the request's
// share: it is built before it is written, and stays there until its reader has taken it.
// Where there is no room for its first bytes the answer is not given, and where there is
// none for later ones it breaks off.
func (h *handlers) count(c echo.Context, answer http.Handler) error {
	w := &counted{ResponseWriter: c.Response(), share: h.memory(c), header: http.Header{}, status: http.StatusOK}
	answer.ServeHTTP(w, c.Request())
	switch {
	case w.verdict == fair.Granted:
		w.begin()
		return nil
	case w.begun:
		return errNoRoom // the answer is cut off
	}
	return h.noRoom(c, w.verdict)
}

var errNoRoom = errors.New("too many bytes of requests and answers are under way")

// counted is an answer whose status and header are written with its first bytes, when there
// is room for them.
type counted struct {
	http.ResponseWriter
	share   *fair.Share
	header  http.Header
	status  int
	begun   bool
	verdict fair.Verdict // why no more is written
}

func (w *counted) Header() http.Header { return w.header }

func (w *counted) WriteHeader(status int) {
	if !w.begun {
		w.status = status
	}
}

func (w *counted) begin() {
	if w.begun {
		return
	}
	w.begun = true
	maps.Copy(w.ResponseWriter.Header(), w.header)
	w.ResponseWriter.WriteHeader(w.status)
}

func (w *counted) Write(p []byte) (int, error) {
	if w.verdict == fair.Granted {
		w.verdict = w.share.Take(answerWeight * int64(len(p)))
	}
	if w.verdict != fair.Granted {
		return 0, errNoRoom
	}
	w.begin()
	return w.ResponseWriter.Write(p)
}
