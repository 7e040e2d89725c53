package handlers

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"testing"
)

func TestProxies_BelieveNobodyElse(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ff::/48")}
	for name, test := range map[string]struct {
		remote    string
		tls       bool
		forwarded bool // the header Forwarded is the proxy's
		headers   []string
		key       string
		https     bool
	}{
		"no proxy":                       {"192.0.2.1:1", false, false, nil, "192.0.2.1", false},
		"no proxy, TLS":                  {"192.0.2.1:1", true, false, nil, "192.0.2.1", true},
		"a client that claims":           {"192.0.2.1:1", false, false, []string{"X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "https"}, "192.0.2.1", false},
		"a client that claims otherwise": {"192.0.2.1:1", false, true, []string{"Forwarded", "for=192.0.2.9;proto=https"}, "192.0.2.1", false},
		"a proxy":                        {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "192.0.2.9", "X-Forwarded-Proto", "https"}, "192.0.2.9", true},
		"a proxy as IPv4 in IPv6":        {"[::ffff:10.0.0.1]:1", false, false, []string{"X-Forwarded-For", "::ffff:192.0.2.9"}, "192.0.2.9", false},
		"a proxy that says nothing":      {"10.0.0.1:1", true, false, nil, "10.0.0.1", true},
		"two proxies":                    {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "192.0.2.9, 10.0.0.2"}, "192.0.2.9", false},
		"two lines":                      {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "192.0.2.8", "X-Forwarded-For", "192.0.2.9"}, "192.0.2.9", false},
		"a lie before the truth":         {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "10.0.0.3, 203.0.113.5, 192.0.2.9"}, "192.0.2.9", false},
		"proxies only":                   {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "10.0.0.3, 10.0.0.2"}, "10.0.0.3", false},
		"an address with a port":         {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "192.0.2.9:4711"}, "192.0.2.9", false},
		"rubbish":                        {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "192.0.2.9, unknown"}, "10.0.0.1", false},
		"empty":                          {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", " , "}, "10.0.0.1", false},
		"IPv6 is its network":            {"10.0.0.1:1", false, false, []string{"X-Forwarded-For", "[2001:db8:1:2:3::4]:1"}, "2001:db8:1:2::/64", false},
		"a zone":                         {"[fe80::1%eth0]:1", false, false, nil, "fe80::/64", false},
		"the other header":               {"10.0.0.1:1", false, false, []string{"Forwarded", "for=192.0.2.9;proto=https"}, "10.0.0.1", false},
		"a proto of the client before":   {"10.0.0.1:1", false, false, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, "10.0.0.1", false},
		"Forwarded":                      {"10.0.0.1:1", false, true, []string{"Forwarded", `for=192.0.2.9;proto=https;by=10.0.0.1`}, "192.0.2.9", true},
		"Forwarded, quoted":              {"10.0.0.1:1", false, true, []string{"Forwarded", `For="[2001:db8:1:2::9]:4711"; Proto=HTTPS`}, "2001:db8:1:2::/64", true},
		"Forwarded, a comma in quotes":   {"10.0.0.1:1", false, true, []string{"Forwarded", `for="192.0.2.8, for=192.0.2.7", for=192.0.2.9`}, "192.0.2.9", false},
		"Forwarded, two proxies":         {"10.0.0.1:1", false, true, []string{"Forwarded", `for=192.0.2.9;proto=https, for=10.0.0.2;proto=http`}, "192.0.2.9", true},
		"Forwarded, a lie before":        {"10.0.0.1:1", false, true, []string{"Forwarded", `for=203.0.113.5;proto=https, for=192.0.2.9;proto=http`}, "192.0.2.9", false},
		"Forwarded, hidden":              {"10.0.0.1:1", false, true, []string{"Forwarded", `for=192.0.2.9, for=_hidden`}, "10.0.0.1", false},
		"Forwarded beside the other":     {"10.0.0.1:1", false, true, []string{"Forwarded", `for=192.0.2.9`, "X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"}, "192.0.2.9", false},
		"no address":                     {"@", false, false, []string{"X-Forwarded-For", "192.0.2.9"}, "invalid IP", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: test.remote, Header: http.Header{}}
			if test.tls {
				r.TLS = &tls.ConnectionState{}
			}
			for i := 0; i < len(test.headers); i += 2 {
				r.Header.Add(test.headers[i], test.headers[i+1])
			}
			got := Proxies{Networks: trusted, Forwarded: test.forwarded}.client(r)
			if got.key() != test.key || got.https != test.https {
				t.Errorf("%s, https %v; want %s, %v", got.key(), got.https, test.key, test.https)
			}
		})
	}
}

// A client is never believed, and of what a proxy passes on only an address that
// stands there, never one of a proxy's while there is another.
func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::1]:4711";proto=https, for=10.0.0.1`)
	f.Add(`192.0.2.9, 203.0.113.7, 10.0.0.3`)
	f.Add(`for=_hidden, for="10.0.0.1;for=1.2.3.4"`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, forwarded := range []bool{false, true} {
			p := Proxies{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Forwarded: forwarded}
			r := &http.Request{RemoteAddr: "192.0.2.1:1", Header: http.Header{"Forwarded": {text}, "X-Forwarded-For": {text}, "X-Forwarded-Proto": {text}}}
			if from := p.client(r); from.key() != "192.0.2.1" || from.https {
				t.Fatalf("a client is believed: %+v", from)
			}
			r.RemoteAddr = "10.0.0.1:1"
			from := p.client(r)
			if !from.address.IsValid() || from.address.Zone() != "" || from.address.Is4In6() {
				t.Fatalf("behind the proxy is %+v", from)
			}
			if p.trusts(from.address) {
				continue // nothing but proxies, or what can't be read, stands before it
			}
			hops := p.hops(r.Header)
			for i := len(hops) - 1; hops[i].address != from.address; i-- {
				if !p.trusts(hops[i].address) {
					t.Fatalf("%s is believed, behind %s", from.address, hops[i].address)
				}
			}
		}
	})
}
