// Package admin is the page for those who run an outbox: its files, as they are
// served. They need no build; the data comes from /admin/api, which is handlers'.
package admin

import (
	"embed"
	"net/http"
)

//go:embed static
var static embed.FS

// policy lets the page load from its own origin only, and make no markup of what
// it is told: scripts that write HTML from text are refused by the browser.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler serves the page at /admin and its files beneath /admin/static/. They
// hold nothing that is secret. Embedded files have no time that a browser could
// compare, so that it asks each time.
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
