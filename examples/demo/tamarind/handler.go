package tamarind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// bodyLimit is in bytes; the longest honest body is a fraction of it.
const bodyLimit = 16 << 10

// Handler serves the pages (/, /p/{person}), their assets (/demo/static/) and
// the JSON API (/api/demo/). The pages open their stream at /as/{person}/events, which is
// not here. In the API the path says who acts: {person}.
func (b *Business) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", b.frontPage)
	mux.HandleFunc("GET /p/{person}", b.personPage)
	mux.Handle("GET /demo/static/", assets())

	const desk = "/api/demo/people/{person}"
	mux.Handle("GET /api/demo/people", b.api(http.StatusOK, b.getPeople))
	mux.Handle("GET /api/demo/sql/{id}", b.api(http.StatusOK, b.getSQL))
	mux.Handle("POST /api/demo/traffic", b.api(http.StatusOK, b.postTraffic))
	mux.Handle("GET "+desk+"/state", b.api(http.StatusOK, b.getState))
	mux.Handle("POST "+desk+"/items", b.api(http.StatusCreated, b.postItem))
	mux.Handle("POST "+desk+"/items/{id}/approve", b.api(http.StatusOK, postVerdict(b.Approve)))
	mux.Handle("POST "+desk+"/items/{id}/reject", b.api(http.StatusOK, postVerdict(b.Reject)))
	mux.Handle("POST "+desk+"/items/{id}/trade", b.api(http.StatusCreated, b.postTrade))
	mux.Handle("POST "+desk+"/login", b.api(http.StatusOK, b.postLogin))
	mux.Handle("POST "+desk+"/logout", b.api(http.StatusOK, b.postLogout))
	mux.Handle("POST "+desk+"/unlock/{other}", b.api(http.StatusOK, b.postUnlock))
	mux.Handle("POST "+desk+"/help", b.api(http.StatusCreated, b.postHelp))
	mux.Handle("POST "+desk+"/sync", b.api(http.StatusOK, b.postSync))
	mux.Handle("POST "+desk+"/maintenance", b.api(http.StatusCreated, b.postMaintenance))
	mux.Handle("DELETE "+desk+"/maintenance/{id}", b.api(http.StatusOK, b.deleteMaintenance))

	// There are no sign-ins with a cookie here, but a page of another site should not be
	// able to act either.
	return http.NewCrossOriginProtection().Handler(mux)
}

// api answers with the result of do as JSON and the status, or with its error as problem
// JSON.
func (b *Business) api(status int, do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		answer, err := do(r)
		if err != nil {
			b.answerProblem(w, r, err)
			return
		}
		answerJSON(w, status, "application/json", answer)
	})
}

func (b *Business) answerProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := b.problemOf(w, r, err)
	if p == nil {
		return
	}
	answerJSON(w, p.Status, "application/problem+json", struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
		Values []any  `json:"values,omitempty"`
		Field  string `json:"field,omitempty"`
		Told   bool   `json:"told,omitempty"`
	}{http.StatusText(p.Status), p.Status, p.Detail, p.Code, p.Values, p.Field, p.Told})
}

// problemOf returns what to tell a client about err, or nil when the client has gone.
func (b *Business) problemOf(w http.ResponseWriter, r *http.Request, err error) *Problem {
	var p *Problem
	var unreachable *pgconn.ConnectError
	switch {
	case errors.As(err, &p):
	case r.Context().Err() != nil:
		return nil
	case errors.As(err, &unreachable):
		w.Header().Set("Retry-After", "2")
		p = problem(http.StatusServiceUnavailable, "no_database", "The database can't be reached right now; nothing was changed. Try again in a moment.")
		b.log.Warn("demo request refused", "route", r.Pattern, "err", err)
	default:
		p = problem(http.StatusInternalServerError, "fault", "Something went wrong on our side; nothing was changed.")
		b.log.Error("demo request failed", "route", r.Pattern, "err", err)
	}
	return p
}

func answerJSON(w http.ResponseWriter, status int, contentType string, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "encode answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

func (b *Business) getPeople(r *http.Request) (any, error) {
	var people []Person
	err := collect(r.Context(), b.pool, &people, peopleSQL)
	return people, err
}

func (b *Business) getState(r *http.Request) (any, error) {
	return b.State(r.Context(), r.PathValue("person"))
}

func (b *Business) postItem(r *http.Request) (any, error) {
	s, err := body[Submission](r)
	if err != nil {
		return nil, err
	}
	return b.Submit(r.Context(), r.PathValue("person"), s)
}

// verdict is the body of an approval and a rejection; it may be missing.
type verdict struct {
	Note string `json:"note"`
}

// postVerdict answers with the item that decide approves or rejects.
func postVerdict(decide func(ctx context.Context, reviewer string, id int64, note string) (Item, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		id, err := id(r)
		if err != nil {
			return nil, err
		}
		v, err := body[verdict](r)
		if err != nil {
			return nil, err
		}
		return decide(r.Context(), r.PathValue("person"), id, v.Note)
	}
}

func (b *Business) postTrade(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	return b.Execute(r.Context(), r.PathValue("person"), id)
}

func (b *Business) postLogin(r *http.Request) (any, error) {
	in, err := body[struct {
		PIN string `json:"pin"`
	}](r)
	if err != nil {
		return nil, err
	}
	if in.PIN == "" {
		return nil, invalid("pin", "pin_missing", "The PIN is missing.")
	}
	return b.LogIn(r.Context(), r.PathValue("person"), in.PIN)
}

func (b *Business) postLogout(r *http.Request) (any, error) {
	return b.LogOut(r.Context(), r.PathValue("person"))
}

func (b *Business) postUnlock(r *http.Request) (any, error) {
	return b.Unlock(r.Context(), r.PathValue("person"), r.PathValue("other"))
}

func (b *Business) postHelp(r *http.Request) (any, error) {
	in, err := body[struct {
		About string `json:"about"`
	}](r)
	if err != nil {
		return nil, err
	}
	return b.AskForHelp(r.Context(), r.PathValue("person"), in.About)
}

func (b *Business) postSync(r *http.Request) (any, error) {
	return b.SyncPrices(r.Context(), r.PathValue("person"))
}

func (b *Business) postMaintenance(r *http.Request) (any, error) {
	w, err := body[Window](r)
	if err != nil {
		return nil, err
	}
	return b.Announce(r.Context(), r.PathValue("person"), w)
}

func (b *Business) deleteMaintenance(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	return b.Cancel(r.Context(), r.PathValue("person"), id)
}

// id is the number in the path.
func id(r *http.Request) (int64, error) {
	n, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || n < 1 {
		return 0, problem(http.StatusNotFound, "not_found", "There is no number %q here.", r.PathValue("id"))
	}
	return n, nil
}

// body decodes the request's JSON object. An empty body is an empty object.
func body[T any](r *http.Request) (T, error) {
	var in T
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return in, problem(http.StatusRequestEntityTooLarge, "body_too_long", "The body is longer than %d bytes.", large.Limit)
		}
		return in, fmt.Errorf("read body: %w", err)
	}
	if len(raw) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			p := problem(http.StatusBadRequest, "wrong_json", "The %s can't be a JSON %s.", wrong.Field, wrong.Value)
			p.Field = wrong.Field
			return in, p
		}
		return in, problem(http.StatusBadRequest, "body_not_object", "The body must be a JSON object.")
	}
	return in, nil
}
