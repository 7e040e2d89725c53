// Package proxies holds the configurations of proxies in front of Outcrier: nginx,
// HAProxy, Caddy, Apache httpd, Varnish, Traefik. They are meant to be copied; the tests
// run each of them, as it is but for addresses and certificates: Traefik's only where
// OUTCRIER_TRAEFIK is the path of the program, for no Debian release has it.
package proxies
