package main

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// TLSSettings configures the protocols of connections: TLS, with HTTP/1.1 and HTTP/2, or
// without it HTTP/1.1.
type TLSSettings struct {
	TLSCert           string   `name:"tls-cert" help:"a PEM file with the certificate and its intermediates; read again when it changes"`
	TLSKey            string   `name:"tls-key" help:"a PEM file with its private key"`
	AutocertHosts     []string `name:"autocert-host" help:"a name to get a certificate for from Let's Encrypt, on port 443; by setting it you accept its terms"`
	AutocertCache     string   `name:"autocert-cache" help:"the folder to keep these certificates in"`
	AutocertEmail     string   `name:"autocert-email" help:"an address to which the authority writes about problems with a certificate"`
	AutocertDirectory string   `name:"autocert-directory" help:"the directory of another authority (ACME), like https://acme-staging-v02.api.letsencrypt.org/directory"`
	ClientCertificateSettings
	H2C bool `name:"h2c" help:"accept HTTP/2 without TLS too, from a proxy that speaks it"`
}

// enabled reports whether connections are encrypted.
func (s TLSSettings) enabled() bool { return s.TLSCert != "" || len(s.AutocertHosts) > 0 }

func (s TLSSettings) check(r *report) {
	switch {
	case (s.TLSCert == "") != (s.TLSKey == ""):
		r.reject("tls-cert", "want it and --tls-key, or neither")
	case s.TLSCert != "" && len(s.AutocertHosts) > 0:
		r.reject("autocert-host", "want either it or --tls-cert")
	case s.TLSCert != "":
		if _, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey); err != nil {
			r.reject("tls-cert", "%v", err)
		}
	}
	if len(s.AutocertHosts) > 0 && s.AutocertCache == "" {
		r.reject("autocert-cache", "has to be given: authorities limit how often they issue a certificate")
	}
	for _, host := range s.AutocertHosts {
		if net.ParseIP(host) != nil || !strings.Contains(host, ".") || strings.ContainsAny(host, "*:/") {
			r.reject("autocert-host", "want a name like events.example.com, without a port")
		}
	}
	s.ClientCertificateSettings.check(r, s.enabled(), len(s.AutocertHosts) > 0)
	if s.H2C && s.enabled() {
		r.reject("h2c", "is for plain HTTP: with TLS, HTTP/2 is spoken anyway")
	}
}

// tlsConfig is for tls.Server, nil without TLS.
func (s TLSSettings) tlsConfig(log *slog.Logger) *tls.Config {
	switch {
	case len(s.AutocertHosts) > 0:
		manager := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Email: s.AutocertEmail, Cache: autocert.DirCache(s.AutocertCache),
			// Without it any name that a client sends would have a certificate
			// asked for, until the authority refuses more.
			HostPolicy: autocert.HostWhitelist(s.AutocertHosts...),
			Client:     &acme.Client{DirectoryURL: cmp.Or(s.AutocertDirectory, autocert.DefaultACMEDirectory)},
		}
		config := manager.TLSConfig()
		config.MinVersion = tls.VersionTLS12
		return config
	case s.TLSCert != "":
		certificate := &rereadFile[*tls.Certificate]{name: s.TLSCert, log: log, parse: func(cert []byte) (*tls.Certificate, error) {
			key, err := os.ReadFile(s.TLSKey)
			if err != nil {
				return nil, err
			}
			read, err := tls.X509KeyPair(cert, key) // fails when only one of them is new
			if err == nil {
				log.Info("certificate read", "file", s.TLSCert, "names", read.Leaf.DNSNames, "expires", read.Leaf.NotAfter)
			}
			return &read, err
		}}
		return &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate.get() }, MinVersion: tls.VersionTLS12,
		}
	}
	return nil
}

// protocols are those that the server speaks.
func (s TLSSettings) protocols() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.enabled())
	protocols.SetUnencryptedHTTP2(s.H2C)
	return protocols
}
