package main

import (
	"net/netip"
	"time"

	"github.com/outcrier/outcrier/handlers"
)

// AccessSettings configures access, apart from keys.
type AccessSettings struct {
	KeySettings
	LoginSettings
	QueryToken      bool     `name:"query-token" help:"take tokens from ?token= too; proxies log them, and browsers keep them in their history"`
	AllowOrigins    []string `name:"allow-origin" help:"another origin whose pages may read streams, and act with their user's cookie, like https://app.example.com"`
	AllowHeaders    []string `name:"allow-header" help:"a further request header that these pages may send, like X-Request-Id; traceparent and tracestate are allowed already"`
	CrossSiteCookie bool     `name:"cross-site-cookie" help:"have browsers send the cookie of POST /session from these pages too where they are of other sites (SameSite=None; Secure; Partitioned); over HTTPS only"`
}

func (a AccessSettings) check(r *report) {
	a.KeySettings.check(r)
	a.LoginSettings.check(r)
	for _, origin := range a.AllowOrigins {
		if _, err := handlers.ParseOrigin(origin); err != nil {
			r.reject("allow-origin", "%v", err)
		}
	}
	for _, name := range a.AllowHeaders {
		if _, err := handlers.ParseHeader(name); err != nil {
			r.reject("allow-header", "%v", err)
		}
	}
}

// ProxySettings has the trusted proxies.
type ProxySettings struct {
	TrustProxies []string `name:"trust-proxy" help:"the network of proxies whose headers about a client's address and TLS are trusted, like 10.0.0.0/8"`
	ProxyHeader  string   `name:"proxy-header" default:"X-Forwarded-For" allow:"X-Forwarded-For|Forwarded" help:"the header that these proxies set and clients can't (with X-Forwarded-For goes X-Forwarded-Proto)"`
}

func (p ProxySettings) check(r *report) {
	for _, text := range p.TrustProxies {
		if _, err := parseNetwork(text); err != nil {
			r.reject("trust-proxy", "want a network like 10.0.0.0/8, or an address")
		}
	}
}

func (p ProxySettings) proxies() handlers.Proxies {
	proxies := handlers.Proxies{Forwarded: p.ProxyHeader == "Forwarded"}
	for _, text := range p.TrustProxies {
		if network, err := parseNetwork(text); err == nil { // as check has found
			proxies.Networks = append(proxies.Networks, network)
		}
	}
	return proxies
}

// parseNetwork takes a single address for a network too.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}

// LimitSettings bound the resources of a node that one client may use. In dev mode, where
// all clients count as one, those per client are off unless they are set.
type LimitSettings struct {
	StreamsPerPrincipal int           `name:"max-streams-per-principal" default:"100" allow:"0..1000000" help:"the streams and polls that may be open at a time for one subject of tokens; 0 for no limit, as in dev mode"`
	StreamsPerAddress   int           `name:"max-streams-per-address" default:"1000" allow:"0..1000000" help:"the same for one client address, or /64 network in IPv6"`
	MaxTopics           int           `name:"max-topics" default:"256" allow:"1..10000" help:"the number of topics that a stream may name, and the number of types"`
	PublishRate         float64       `name:"publish-rate" default:"1000" allow:"0..1000000" help:"the events per second that one subject may publish by HTTP; 0 for no limit, as in dev mode"`
	PublishBytes        byteSize      `name:"publish-bytes" default:"4MiB" allow:"0|1KiB..1024MiB" help:"the bytes of events per second that one subject may send to be published; 0 for no limit, as in dev mode"`
	OpenRate            float64       `name:"open-rate" default:"50" allow:"0..1000000" help:"the streams, polls, single events and requests of admins that one subject may ask for per second, beyond 200 at once; 0 for no limit, as in dev mode"`
	MaxScheduled        int           `name:"max-scheduled" default:"10000" allow:"0..10000000" help:"the events that one subject may have scheduled by HTTP at a time; 0 for no limit, as in dev mode"`
	ScheduleAhead       time.Duration `name:"schedule-ahead" default:"8760h" allow:"0|1m.." help:"how far ahead an event may be scheduled by HTTP; 0 for no limit"`
	MaxBuffered         byteSize      `name:"max-buffered" default:"128MiB" allow:"0|1MiB..65536MiB" help:"the bytes of requests and answers that the node holds in memory at a time; a body counts four times; 0 for no limit"`
	MaxBufferedEach     byteSize      `name:"max-buffered-per-principal" default:"32MiB" allow:"0|1MiB..65536MiB" help:"the same for one subject; 0 for no limit, as in dev mode"`
	MaxBody             byteSize      `name:"max-body" default:"4MiB" allow:"1KiB..128MiB" help:"the largest body of a request"`
	BodyTime            time.Duration `name:"body-time" default:"30s" allow:"1s..10m" help:"the time within which a body must arrive"`
	MaxURL              byteSize      `name:"max-url" default:"32KiB" allow:"1KiB..1MiB" help:"the longest path of a request with its query"`
	MaxHeader           byteSize      `name:"max-header" default:"64KiB" allow:"4KiB..1MiB" help:"the largest header of a request, its path and query included"`
	HeaderTime          time.Duration `name:"header-time" default:"5s" allow:"100ms..1m" help:"the time within which a header must arrive, and a TLS handshake end"`
}

// withoutPrincipals turns off the limits per client that were not set explicitly.
func (l *LimitSettings) withoutPrincipals(r *report) {
	for flag, limit := range map[string]*int{"max-streams-per-principal": &l.StreamsPerPrincipal, "max-streams-per-address": &l.StreamsPerAddress, "max-scheduled": &l.MaxScheduled} {
		if !r.given(flag) {
			*limit = 0
		}
	}
	for flag, limit := range map[string]*float64{"publish-rate": &l.PublishRate, "open-rate": &l.OpenRate} {
		if !r.given(flag) {
			*limit = 0
		}
	}
	for flag, limit := range map[string]*byteSize{"publish-bytes": &l.PublishBytes, "max-buffered-per-principal": &l.MaxBufferedEach} {
		if !r.given(flag) {
			*limit = 0
		}
	}
}

func (l LimitSettings) limits() handlers.Limits {
	return handlers.Limits{
		StreamsPerPrincipal: l.StreamsPerPrincipal, StreamsPerAddress: l.StreamsPerAddress,
		Topics: l.MaxTopics, URLBytes: int(l.MaxURL), BodyTime: l.BodyTime, PublishRate: l.PublishRate,
		PublishBytes: int64(l.PublishBytes), OpenRate: l.OpenRate, Scheduled: l.MaxScheduled, ScheduleAhead: l.ScheduleAhead,
		Buffered: int64(l.MaxBuffered), BufferedPerPrincipal: int64(l.MaxBufferedEach),
	}
}
