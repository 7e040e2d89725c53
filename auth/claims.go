package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/outcrier/outcrier/outbox"
)

// Limits on the claims of a token.
const (
	maxPatterns     = 256 // in subscribe, and as many in publish
	maxSubjectBytes = 255
	maxIDBytes      = 1024
)

// claims are the claims of a token that this package reads.
type claims struct {
	subject, issuer, id          string
	audience                     []string
	audienceGiven                bool
	expires, notBefore, issuedAt time.Time // zero if missing
	subscribe, publish           []outbox.Pattern
	admin                        bool
	grants                       []Grant
}

// parseClaims reads a verified body. It ignores unknown claims, as RFC 7519, section 4,
// requires; but within the claim outcrier it refuses them, since a misspelt or future
// restriction must not be lost.
func parseClaims(body []byte) (c claims, err error) {
	object, err := parseObject(body)
	if err != nil {
		return c, err
	}
	if err := c.parseSubject(object); err != nil {
		return c, err
	}
	if c.issuer, _, err = optional[string](object, "iss"); err != nil {
		return c, err
	}
	switch c.id, _, err = optional[string](object, "jti"); {
	case err != nil:
		return c, err
	case len(c.id) > maxIDBytes:
		return c, fmt.Errorf("jti has %d bytes, at most %d are allowed", len(c.id), maxIDBytes)
	}
	if _, single := object["aud"].(string); single {
		object["aud"] = []any{object["aud"]}
	}
	if c.audience, err = texts(object, "aud"); err != nil {
		return c, err
	}
	_, c.audienceGiven = object["aud"]
	if c.expires, err = numericDate(object, "exp"); err != nil {
		return c, err
	}
	if c.expires.IsZero() {
		return c, errors.New("exp is missing")
	}
	if c.notBefore, err = numericDate(object, "nbf"); err != nil {
		return c, err
	}
	if c.issuedAt, err = numericDate(object, "iat"); err != nil {
		return c, err
	}
	err = c.parseGrants(object)
	return c, err
}

// parseSubject reads the claim sub.
func (c *claims) parseSubject(object map[string]any) (err error) {
	c.subject, _, err = optional[string](object, "sub")
	if err != nil {
		return err
	}
	switch {
	case len(c.subject) > maxSubjectBytes:
		return fmt.Errorf("sub has %d bytes, at most %d are allowed", len(c.subject), maxSubjectBytes)
	case strings.ContainsFunc(c.subject, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		// It is logged and shown: no line breaks, nothing invisible, nothing that
		// turns the direction of writing.
		return errors.New("sub has invisible characters or is not UTF-8")
	}
	return nil
}

// parseGrants reads the claim outcrier.
func (c *claims) parseGrants(object map[string]any) error {
	grants, _, err := optional[map[string]any](object, "outcrier")
	if err != nil {
		return err
	}
	for name := range grants {
		if !slices.Contains([]string{"subscribe", "publish", "admin"}, name) {
			return fmt.Errorf("outcrier has an unknown member %.40q; allowed are subscribe, publish and admin", name)
		}
	}
	if c.admin, c.grants, err = adminClaim(grants); err != nil {
		return fmt.Errorf("outcrier.%w", err)
	}
	if c.subscribe, err = patterns(grants, "subscribe"); err != nil {
		return fmt.Errorf("outcrier.%w", err)
	}
	if c.publish, err = patterns(grants, "publish"); err != nil {
		return fmt.Errorf("outcrier.%w", err)
	}
	return nil
}

// latest is the end of the year 9999, the last year that time formats can write.
const latest = 253402300799

// numericDate reads a time in seconds since 1970, fractions allowed (RFC 7519, section 2);
// zero if it is missing. Outside of the years 1970 to 9999 it is refused: golang-jwt
// converts 1e308 to an int64, whose value depends on the machine.
func numericDate(object map[string]any, name string) (time.Time, error) {
	number, given, err := optional[json.Number](object, name)
	if err != nil || !given {
		return time.Time{}, err
	}
	seconds, err := number.Float64()
	if err != nil || seconds <= 0 || seconds > latest {
		return time.Time{}, fmt.Errorf("%s is out of range", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

func patterns(grants map[string]any, name string) ([]outbox.Pattern, error) {
	list, err := texts(grants, name)
	if err != nil {
		return nil, err
	}
	if len(list) > maxPatterns {
		return nil, fmt.Errorf("%s has %d patterns, at most %d are allowed", name, len(list), maxPatterns)
	}
	parsed := make([]outbox.Pattern, 0, len(list))
	for i, text := range list {
		pattern, err := outbox.ParsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
		}
		parsed = append(parsed, pattern)
	}
	return parsed, nil
}

// check checks the times, the issuer and the audience of verified claims. A token without
// an audience is for every server that trusts its issuer; one with an audience is refused
// by a server that is not in it, and so by one without a name (RFC 7519, section 4.1.3).
func (v *Verifier) check(c claims, now time.Time) error {
	switch {
	case v.issuer != "" && c.issuer != v.issuer:
		return invalid("iss is not the issuer that is trusted here")
	case v.audience != "" && !slices.Contains(c.audience, v.audience):
		return invalid("aud does not name this server")
	case v.audience == "" && c.audienceGiven:
		return invalid("aud names an audience, and this server was given none to be")
	case now.Before(c.notBefore.Add(-v.leeway)):
		return invalid("the token is not valid yet: nbf is in the future")
	case now.Before(c.issuedAt.Add(-v.leeway)):
		return invalid("iat is in the future")
	case !now.Before(c.expires.Add(v.leeway)):
		return errExpired
	case v.maxLife > 0 && c.life(now) > v.maxLife:
		return invalid(fmt.Sprintf("the token is good for longer than is allowed here: at most %s from iat to exp", v.maxLife))
	}
	return nil
}

// life returns how long the token is valid: from iat, or from now on if it has no iat.
func (c claims) life(now time.Time) time.Duration {
	if !c.issuedAt.IsZero() {
		now = c.issuedAt
	}
	return c.expires.Sub(now)
}
