package demo

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
)

//go:embed static
var static embed.FS

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"initial": func(title string) string { return title[:1] },
}).ParseFS(templateFiles, "templates/*.html"))

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
	Title string
	// Person is whose page it is; the zero Person on the front page.
	Person Person
	People []Person
	Prices []Price
}

func (d *Demo) frontPage(w http.ResponseWriter, r *http.Request) {
	p, err := d.readPage(r)
	if err != nil {
		d.answerProblem(w, r, err)
		return
	}
	p.Title = "Tamarind – who are you?"
	d.render(w, r, http.StatusOK, "front.html", p)
}

// personPage renders the frame of a person's page; its state comes from the
// API, with the position that belongs to it.
func (d *Demo) personPage(w http.ResponseWriter, r *http.Request) {
	p, err := d.readPage(r)
	if err != nil {
		d.answerProblem(w, r, err)
		return
	}
	for _, person := range p.People {
		if person.Name == r.PathValue("person") {
			p.Title, p.Person = person.Title+" – Tamarind", person
			d.render(w, r, http.StatusOK, "person.html", p)
			return
		}
	}
	p.Title = "Nobody here – Tamarind"
	d.render(w, r, http.StatusNotFound, "nobody.html", p)
}

func (d *Demo) readPage(r *http.Request) (page, error) {
	var p page
	if err := collect(r.Context(), d.pool, &p.People, peopleSQL); err != nil {
		return page{}, err
	}
	err := collect(r.Context(), d.pool, &p.Prices, pricesSQL)
	return p, err
}

func (d *Demo) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	var html bytes.Buffer
	if err := templates.ExecuteTemplate(&html, name, p); err != nil {
		d.answerProblem(w, r, err)
		return
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
