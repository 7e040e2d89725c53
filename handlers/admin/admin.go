// Package admin is the page for those who run an outbox: its files, as they are
// served. They need no build; the data comes from /admin/api, which is handlers'.
package admin

import (
	"embed"
	"net/http"
)

//go:embed static
var static embed.FS

// policy lets the page load from its own origin only, and not write HTML from text: the
// browser refuses scripts that do.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler serves the page at /admin and its files beneath /admin/static/. They are not
// secret. Embedded files have no modification time, so browsers fetch them each time.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, static, "static/page.html")
	})
	mux.Handle("GET /admin/static/", http.StripPrefix("/admin/", http.FileServerFS(static)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		header.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
