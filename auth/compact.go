package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
)

// maxTokenBytes is the longest token that is read. Cookies hold at most half of it.
const maxTokenBytes = 8 << 10

// compact is a parsed token (RFC 7515, section 3.1), its signature not yet verified.
type compact struct {
	algorithm, kid  string
	kidGiven        bool
	signed          string // the part that the signature is for
	body, signature []byte
}

// maxKidBytes is longer than any thumbprint.
const maxKidBytes = 255

// parseCompact returns constant errors: the content is not verified yet, and must not be
// quoted.
func parseCompact(token string) (c compact, err error) {
	if len(token) > maxTokenBytes {
		return c, errors.New("the token is longer than 8192 bytes")
	}
	parts := strings.Split(token, ".")
	switch {
	case len(parts) == 5:
		return c, errors.New("the token is encrypted (JWE); a signed one (JWS) is needed")
	case len(parts) != 3:
		return c, errors.New("the token does not have the three parts of a JWT")
	case parts[2] == "":
		return c, errors.New("the token is not signed")
	}
	var decoded [3][]byte
	for i, part := range parts {
		if decoded[i], err = decode(part); err != nil {
			return c, errors.New("the token is not base64url without padding")
		}
	}
	header, err := parseObject(decoded[0])
	if err != nil {
		return c, errors.New("the token's header is not a JSON object with each name once")
	}
	// Extensions that must be understood (RFC 7515, section 4.1.11): this package knows
	// none.
	if _, given := header["crit"]; given {
		return c, errors.New("the token's header has crit, which is not supported")
	}
	// So that a token that the issuer signed for another use, like a logout token or a
	// proof of possession, is not accepted as an access token (RFC 8725, section 3.11).
	if kind, given, err := optional[string](header, "typ"); err != nil || given && !slices.Contains(types, strings.ToLower(kind)) {
		return c, errors.New("the token's typ is not supported; allowed are none, JWT and at+jwt")
	}
	if c.algorithm, _, err = optional[string](header, "alg"); err != nil || c.algorithm == "" {
		return c, errors.New("the token's header has no alg")
	}
	if c.kid, c.kidGiven, err = optional[string](header, "kid"); err != nil || len(c.kid) > maxKidBytes {
		return c, errors.New("the token's kid is not a string of at most 255 bytes")
	}
	c.signed = token[:len(parts[0])+1+len(parts[1])]
	c.body, c.signature = decoded[1], decoded[2]
	return c, nil
}

// name identifies the unknown key of a token: its kid, or, for a token without one, the
// token itself.
func (c *compact) name() string {
	if c.kidGiven {
		return "kid " + c.kid
	}
	sum := sha256.Sum256([]byte(c.signed))
	return "token " + string(sum[:])
}

// made returns the iat of a body that is not verified yet; zero if there is none.
func (c *compact) made() time.Time {
	body, err := parseObject(c.body)
	if err != nil {
		return time.Time{}
	}
	at, _ := numericDate(body, "iat") // zero if it is none
	return at
}

var types = []string{"jwt", "application/jwt", "at+jwt", "application/at+jwt"}

// decode decodes base64url as in RFC 7515, with one text for each value: encoding/base64
// ignores line breaks, and unless it is strict the last bits too.
func decode(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("a line break")
	}
	return base64.RawURLEncoding.Strict().DecodeString(part)
}
