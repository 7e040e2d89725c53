package tamarind

import (
	"bytes"
	"cmp"
	"embed"
	"html/template"
	"net/http"
)

//go:embed static
var static embed.FS

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*.html"))

// policy lets a page load from its own origin only: no inline script or style,
// no frames, and the stream and the API on the same host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// assets serves /demo/static/ from the binary. Embedded files have no time
// that a browser could compare, so that it asks each time.
func assets() http.Handler {
	files := http.StripPrefix("/demo/", http.FileServerFS(static))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
	})
}

// page is what the templates see.
type page struct {
	Title  string
	People []Person
	// Panes are those whose desks are on the page: one on a person's own.
	Panes []Person
	// Heartbeat is in milliseconds.
	Heartbeat int64
	// Traffic is whether the desk plays by itself.
	Traffic bool
	// NoDatabase is whether there is no page because the database can't be reached.
	NoDatabase bool
}

// frontPage has one of each role side by side. Which of the submitters, the query
// may say: ?submitter=bo.
func (b *Business) frontPage(w http.ResponseWriter, r *http.Request) {
	p, err := b.readPage(r)
	if err != nil {
		b.noPage(w, r, err)
		return
	}
	p.Title = "Tamarind – a demo of Outcrier"
	for _, role := range []string{roleSubmitter, roleReviewer, roleTrader} {
		if pane := choose(p.People, role, r.URL.Query().Get(role)); pane != nil {
			p.Panes = append(p.Panes, *pane)
		}
	}
	b.render(w, r, http.StatusOK, "desk.html", p)
}

// choose is the person of a role with a name, or else the first of the role.
func choose(people []Person, role, name string) (first *Person) {
	for i, person := range people {
		switch {
		case person.Role != role:
		case person.Name == name:
			return &people[i]
		case first == nil:
			first = &people[i]
		}
	}
	return first
}

// personPage renders the frame of a person's page; its state comes from the
// API, with the position that belongs to it.
func (b *Business) personPage(w http.ResponseWriter, r *http.Request) {
	p, err := b.readPage(r)
	if err != nil {
		b.noPage(w, r, err)
		return
	}
	for _, person := range p.People {
		if person.Name == r.PathValue("person") {
			p.Title, p.Panes = person.Title+" – Tamarind", []Person{person}
			b.render(w, r, http.StatusOK, "desk.html", p)
			return
		}
	}
	p.Title = "Nobody here – Tamarind"
	b.render(w, r, http.StatusNotFound, "nobody.html", p)
}

// noPage renders, for a page that can't be made, one that says why and tries again by itself.
func (b *Business) noPage(w http.ResponseWriter, r *http.Request, err error) {
	if p := b.problemOf(w, r, err); p != nil {
		b.render(w, r, p.Status, "trouble.html", page{Title: "Tamarind", NoDatabase: p.Status == http.StatusServiceUnavailable})
	}
}

func (b *Business) readPage(r *http.Request) (page, error) {
	p := page{Heartbeat: cmp.Or(b.Heartbeat, defaultHeartbeat).Milliseconds()}
	perSecond, _ := b.traffic.now()
	p.Traffic = perSecond > 0
	err := collect(r.Context(), b.pool, &p.People, peopleSQL)
	return p, err
}

func (b *Business) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	var html bytes.Buffer
	if err := templates.ExecuteTemplate(&html, name, p); err != nil {
		b.answerProblem(w, r, err)
		return
	}
	// Opening a person's page is being that person.
	for _, pane := range p.Panes {
		http.SetCookie(w, b.sessions.cookie(pane.Name))
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(html.Bytes())
}
