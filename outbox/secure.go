package outbox

import (
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Insecure returns the first host of a database's URL that is neither on this machine nor
// proven by its certificate, and why that matters; "" for none. Postgres's own default,
// sslmode=prefer, goes on without TLS when the other side says that it has none: a man in
// the middle reads everything, and sslmode=require accepts any server.
func Insecure(url string) (host, why string) {
	url, err := ResolveURL(url)
	if err != nil {
		return "", ""
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return "", ""
	}
	hosts := append([]*pgconn.FallbackConfig{{Host: config.Host, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	for _, each := range hosts {
		switch {
		case onThisMachine(each.Host):
		case each.TLSConfig == nil:
			return each.Host, "the connection may go without TLS, so that whoever stands between reads and changes everything"
		case each.TLSConfig.InsecureSkipVerify && host == "": // also for verify-ca, whose certificate may be another host's
			host, why = each.Host, "TLS does not prove which host answers, so that whoever stands between may"
		}
	}
	return host, why
}

func onThisMachine(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true // a socket
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
