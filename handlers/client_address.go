package handlers

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the hosts whose forwarding headers are trusted.
type Proxies struct {
	// Networks are the proxies' addresses. Headers of other hosts are ignored.
	Networks []netip.Prefix
	// Forwarded reads Forwarded (RFC 7239) instead of X-Forwarded-For and
	// X-Forwarded-Proto. Never both: a proxy sets one of them, and passes on the client's
	// own value of the other.
	Forwarded bool
}

// clientAddress is the address that a request comes from.
type clientAddress struct {
	address netip.Addr // not valid where there is none, as on a Unix socket
	https   bool
}

// key returns the key of the address in the limits: for IPv6 its network of 64 bits, any
// address of which a single host can have.
func (p clientAddress) key() string {
	if p.address.Is6() {
		network, _ := p.address.Prefix(64)
		return network.String()
	}
	return p.address.String()
}

// client returns the address of the client. It goes through the hops from the last, which a
// host of ours has written, to the first that is not a trusted proxy. Earlier hops are the
// client's own claims and not trusted.
func (p Proxies) client(r *http.Request) clientAddress {
	from := clientAddress{https: r.TLS != nil}
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		from.address = remote.Addr().Unmap().WithZone("")
	}
	if !p.trusts(from.address) {
		return from
	}
	hops := p.hops(r.Header)
	if !p.Forwarded {
		protos := r.Header.Values("X-Forwarded-Proto")
		from.https = from.https || len(protos) > 0 && strings.EqualFold(lastOf(protos[len(protos)-1]), "https")
	}
	for _, hop := range slices.Backward(hops) {
		if !p.trusts(from.address) || !hop.address.IsValid() {
			break
		}
		from.address = hop.address
		if p.Forwarded {
			from.https = hop.https
		}
	}
	return from
}

func (p Proxies) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(p.Networks, func(network netip.Prefix) bool { return network.Contains(address) })
}

// hops returns the hops in the order of the header, the client first; one that can't be
// parsed has no address.
func (p Proxies) hops(header http.Header) (hops []clientAddress) {
	if !p.Forwarded {
		for name := range strings.SplitSeq(strings.Join(header.Values("X-Forwarded-For"), ","), ",") {
			hops = append(hops, clientAddress{address: parseHop(name)})
		}
		return hops
	}
	for _, element := range splitQuoted(strings.Join(header.Values("Forwarded"), ","), ',') {
		var hop clientAddress
		for _, pair := range splitQuoted(element, ';') {
			name, value, _ := strings.Cut(pair, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "for":
				hop.address = parseHop(value)
			case "proto":
				hop.https = strings.EqualFold(value, "https")
			}
		}
		hops = append(hops, hop)
	}
	return hops
}

// parseHop reads an address with or without a port, an IPv6 one in brackets or not.
func parseHop(text string) netip.Addr {
	text = strings.TrimSpace(text)
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		with, _ := netip.ParseAddrPort(text) // invalid if it has no port either
		address = with.Addr()
	}
	return address.Unmap().WithZone("")
}

// splitQuoted splits at separators that are not within quotes.
func splitQuoted(text string, separator byte) (parts []string) {
	quoted, start := false, 0
	for i := range len(text) {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == separator && !quoted:
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}

func lastOf(list string) string {
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}
