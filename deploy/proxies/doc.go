// Package proxies holds the configurations of proxies in front of Outcrier: nginx,
// HAProxy, Caddy, Apache httpd, Varnish. They are meant to be copied; the tests run each
// of them, as it is but for addresses and certificates.
package proxies
