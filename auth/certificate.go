package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Certificates identify services by the certificate of their TLS connection.
type Certificates struct{ byName map[string]claims }

// maxCertificates bounds what one request costs.
const maxCertificates = 1000

// ParseCertificates reads a JSON object: by the name of a certificate, the rights of its
// holder, in the form of a token's claims.
//
//	{"cn:prometheus": {"outcrier": {"admin": ["metrics"]}},
//	 "uri:spiffe://example.com/billing": {"sub": "billing", "outcrier": {"publish": ["invoice/**"]}}}
//
// A name is uri:, dns: or email: and a subject alternative name, or cn: and the common
// name of the subject, to the letter. Without sub the name is the subject.
func ParseCertificates(file []byte) (*Certificates, error) {
	object, err := parseObject(file)
	if err != nil {
		return nil, err
	}
	if len(object) > maxCertificates {
		return nil, fmt.Errorf("%d names, at most %d are allowed", len(object), maxCertificates)
	}
	c := &Certificates{byName: map[string]claims{}}
	for name := range object {
		entry, _, err := optional[map[string]any](object, name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc([]string{"uri:", "dns:", "email:", "cn:"}, func(kind string) bool { return len(name) > len(kind) && name[:len(kind)] == kind }) {
			return nil, fmt.Errorf(`%.100q is no name of a certificate: want "uri:", "dns:", "email:" or "cn:" before it`, name)
		}
		for member := range entry {
			if member != "sub" && member != "outcrier" {
				return nil, fmt.Errorf("%.100q has an unknown member %.40q; allowed are sub and outcrier", name, member)
			}
		}
		var parsed claims
		if err := parsed.parseSubject(entry); err != nil {
			return nil, fmt.Errorf("%.100q: %w", name, err)
		}
		if err := parsed.parseGrants(entry); err != nil {
			return nil, fmt.Errorf("%.100q: %w", name, err)
		}
		if parsed.subject == "" {
			if err := parsed.parseSubject(map[string]any{"sub": name}); err != nil {
				return nil, fmt.Errorf("%.100q: %w", name, err)
			}
		}
		c.byName[name] = parsed
	}
	return c, nil
}

// Authenticate returns the identity of a request that carries a token, by next, and
// otherwise that of its certificate, which the server has verified. next may be nil, and
// is called for requests without a certificate too.
func (c *Certificates) Authenticate(r *http.Request, next func(*http.Request) (Identity, error)) (Identity, error) {
	identity, err := Identity{}, error(errNoToken)
	if next != nil {
		identity, err = next(r)
	}
	if !errors.Is(err, ErrNoToken) || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return identity, err
	}
	return c.identity(r.TLS.VerifiedChains[0][0])
}

func (c *Certificates) identity(leaf *x509.Certificate) (Identity, error) {
	var found *claims
	for _, name := range namesOf(leaf) {
		entry, is := c.byName[name]
		if !is {
			continue
		}
		if found != nil {
			return Identity{}, notGranted("the certificate has several names that are granted something: give it one")
		}
		found = &entry
	}
	if found == nil {
		return Identity{}, notGranted("no name of the certificate is granted anything")
	}
	sum := sha256.Sum256(leaf.Raw)
	return Identity{
		Subject: found.subject, TokenID: "certificate " + hex.EncodeToString(sum[:]), Issued: leaf.NotBefore, Expires: leaf.NotAfter,
		Subscribe: found.subscribe, Publish: found.publish, Admin: found.admin, Grants: found.grants,
	}, nil
}

// namesOf lists the names of a certificate, each once.
func namesOf(leaf *x509.Certificate) (names []string) {
	for _, uri := range leaf.URIs {
		names = append(names, "uri:"+uri.String())
	}
	for _, name := range leaf.DNSNames {
		names = append(names, "dns:"+name)
	}
	for _, address := range leaf.EmailAddresses {
		names = append(names, "email:"+address)
	}
	if leaf.Subject.CommonName != "" {
		names = append(names, "cn:"+leaf.Subject.CommonName)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
