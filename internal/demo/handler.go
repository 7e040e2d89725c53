package demo

import (
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
// the JSON API (/api/demo/). The pages open their stream at /events, which is
// not here. In the API the path says who acts: {person}.
func (d *Demo) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.frontPage)
	mux.HandleFunc("GET /p/{person}", d.personPage)
	mux.Handle("GET /demo/static/", assets())

	const desk = "/api/demo/people/{person}"
	mux.Handle("GET /api/demo/people", d.api(http.StatusOK, d.getPeople))
	mux.Handle("GET "+desk+"/state", d.api(http.StatusOK, d.getState))
	mux.Handle("POST "+desk+"/items", d.api(http.StatusCreated, d.postItem))
	mux.Handle("POST "+desk+"/items/{id}/approve", d.api(http.StatusOK, d.postApprove))
	mux.Handle("POST "+desk+"/items/{id}/reject", d.api(http.StatusOK, d.postReject))
	mux.Handle("POST "+desk+"/items/{id}/trade", d.api(http.StatusCreated, d.postTrade))
	mux.Handle("POST "+desk+"/login", d.api(http.StatusOK, d.postLogin))
	mux.Handle("POST "+desk+"/logout", d.api(http.StatusOK, d.postLogout))
	mux.Handle("POST "+desk+"/unlock/{other}", d.api(http.StatusOK, d.postUnlock))
	mux.Handle("POST "+desk+"/help", d.api(http.StatusCreated, d.postHelp))
	mux.Handle("POST "+desk+"/sync", d.api(http.StatusOK, d.postSync))
	mux.Handle("POST "+desk+"/maintenance", d.api(http.StatusCreated, d.postMaintenance))
	mux.Handle("DELETE "+desk+"/maintenance/{id}", d.api(http.StatusOK, d.deleteMaintenance))

	// Nobody signs in with a cookie here, but a page elsewhere should not make a
	// visitor's browser play along either.
	return http.NewCrossOriginProtection().Handler(mux)
}

// api answers what do returns as JSON with the given status, or its error as
// problem JSON.
func (d *Demo) api(status int, do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		answer, err := do(r)
		if err != nil {
			d.answerProblem(w, r, err)
			return
		}
		answerJSON(w, status, "application/json", answer)
	})
}

func (d *Demo) answerProblem(w http.ResponseWriter, r *http.Request, err error) {
	var p *Problem
	var unreachable *pgconn.ConnectError
	switch {
	case errors.As(err, &p):
	case r.Context().Err() != nil:
		return
	case errors.As(err, &unreachable):
		w.Header().Set("Retry-After", "2")
		p = problem(http.StatusServiceUnavailable, "no_database", "The database can't be reached right now; nothing was changed.")
		d.log.Warn("demo request refused", "route", r.Pattern, "err", err)
	default:
		p = problem(http.StatusInternalServerError, "fault", "Something went wrong on our side; nothing was changed.")
		d.log.Error("demo request failed", "route", r.Pattern, "err", err)
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

func (d *Demo) getPeople(r *http.Request) (any, error) {
	var people []Person
	err := collect(r.Context(), d.pool, &people, peopleSQL)
	return people, err
}

func (d *Demo) getState(r *http.Request) (any, error) {
	return d.State(r.Context(), r.PathValue("person"))
}

func (d *Demo) postItem(r *http.Request) (any, error) {
	s, err := body[Submission](r)
	if err != nil {
		return nil, err
	}
	return d.Submit(r.Context(), r.PathValue("person"), s)
}

// verdict is the body of an approval and a rejection; it may be missing.
type verdict struct {
	Note string `json:"note"`
}

func (d *Demo) postApprove(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	v, err := body[verdict](r)
	if err != nil {
		return nil, err
	}
	return d.Approve(r.Context(), r.PathValue("person"), id, v.Note)
}

func (d *Demo) postReject(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	v, err := body[verdict](r)
	if err != nil {
		return nil, err
	}
	return d.Reject(r.Context(), r.PathValue("person"), id, v.Note)
}

func (d *Demo) postTrade(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	return d.Execute(r.Context(), r.PathValue("person"), id)
}

func (d *Demo) postLogin(r *http.Request) (any, error) {
	in, err := body[struct {
		PIN string `json:"pin"`
	}](r)
	if err != nil {
		return nil, err
	}
	if in.PIN == "" {
		return nil, invalid("pin", "pin_missing", "The PIN is missing.")
	}
	return d.LogIn(r.Context(), r.PathValue("person"), in.PIN)
}

func (d *Demo) postLogout(r *http.Request) (any, error) {
	return d.LogOut(r.Context(), r.PathValue("person"))
}

func (d *Demo) postUnlock(r *http.Request) (any, error) {
	return d.Unlock(r.Context(), r.PathValue("person"), r.PathValue("other"))
}

func (d *Demo) postHelp(r *http.Request) (any, error) {
	in, err := body[struct {
		About string `json:"about"`
	}](r)
	if err != nil {
		return nil, err
	}
	return d.AskForHelp(r.Context(), r.PathValue("person"), in.About)
}

func (d *Demo) postSync(r *http.Request) (any, error) {
	return d.SyncPrices(r.Context(), r.PathValue("person"))
}

func (d *Demo) postMaintenance(r *http.Request) (any, error) {
	w, err := body[Window](r)
	if err != nil {
		return nil, err
	}
	return d.Announce(r.Context(), r.PathValue("person"), w)
}

func (d *Demo) deleteMaintenance(r *http.Request) (any, error) {
	id, err := id(r)
	if err != nil {
		return nil, err
	}
	return d.Cancel(r.Context(), r.PathValue("person"), id)
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
