package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"

	"github.com/outcrier/outcrier/auth"
)

// ClientCertificateSettings configures the certificates of clients (mTLS).
type ClientCertificateSettings struct {
	TLSClientCA         string `name:"tls-client-ca" help:"a PEM file with the authorities of clients' certificates: connections without one of theirs are refused; read again when it changes"`
	TLSClientOptional   bool   `name:"tls-client-optional" help:"accept connections without a certificate too, such as browsers'; a certificate that is shown must still be valid"`
	TLSClientIdentities string `name:"tls-client-identities" help:"a JSON file with the identities of certificate holders, who need no token, by name, like {\"cn:prometheus\": {\"outcrier\": {\"admin\": [\"metrics\"]}}}; read again when it changes"`
}

func (s ClientCertificateSettings) check(r *report, encrypted, autocert bool) {
	switch {
	case s.TLSClientCA == "" && s.TLSClientOptional:
		r.reject("tls-client-optional", "needs --tls-client-ca too")
	case s.TLSClientCA == "" && s.TLSClientIdentities != "":
		r.reject("tls-client-identities", "needs --tls-client-ca too")
	case s.TLSClientCA == "":
		return
	case !encrypted:
		r.reject("tls-client-ca", "needs --tls-cert too, or --autocert-host")
	case autocert && !s.TLSClientOptional:
		r.reject("tls-client-ca", "needs --tls-client-optional with --autocert-host: the authority that issues its certificates shows none")
	}
	if _, err := readKey(s.TLSClientCA, parseAuthorities); err != nil {
		r.reject("tls-client-ca", "%v", err)
	}
	if s.TLSClientIdentities == "" {
		return
	}
	if _, err := readKey(s.TLSClientIdentities, auth.ParseCertificates); err != nil {
		r.reject("tls-client-identities", "%v", err)
	}
}

func parseAuthorities(file []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(file) {
		return nil, errors.New("it has no certificate in PEM form")
	}
	return pool, nil
}

// demand makes a server require certificates of clients.
func (s ClientCertificateSettings) demand(config *tls.Config, log *slog.Logger) *tls.Config {
	if config == nil || s.TLSClientCA == "" {
		return config
	}
	authorities := &rereadFile[*x509.CertPool]{name: s.TLSClientCA, parse: parseAuthorities, log: log}
	// A resumed session would bring along a certificate of an authority that is no longer
	// trusted.
	config.SessionTicketsDisabled = true
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if s.TLSClientOptional {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	if config.NextProtos == nil {
		config.NextProtos = []string{"h2", "http/1.1"} // http.Server adds them to this one alone
	}
	base := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := authorities.get()
		if err != nil {
			return nil, err
		}
		own := base.Clone()
		own.ClientCAs = pool
		return own, nil
	}
	return config
}

// authenticate returns next, extended by the certificates: a request without a token has the
// identity of its certificate.
func (s ClientCertificateSettings) authenticate(next func(*http.Request) (auth.Identity, error), log *slog.Logger) func(*http.Request) (auth.Identity, error) {
	if s.TLSClientIdentities == "" {
		return next
	}
	identities := &rereadFile[*auth.Certificates]{name: s.TLSClientIdentities, parse: auth.ParseCertificates, log: log}
	return func(r *http.Request) (auth.Identity, error) {
		known, err := identities.get()
		if err != nil {
			return auth.Identity{}, err
		}
		return known.Authenticate(r, next)
	}
}
