package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/outcrier/outcrier/auth"
)

// token explains the claims of the token and, where there is a verifier, reports whether it
// is valid.
func (e *examination) token(ctx context.Context) {
	now := time.Now()
	lines, expires, err := explain(e.Token, now)
	if err != nil {
		e.say(Error, "token", "it can't be read: "+err.Error(), "mint one as outcrier token does, or with a JWT library", lines...)
		return
	}
	if e.Verifier != nil {
		_, err = e.Verifier.Verify(ctx, e.Token)
	}
	switch {
	// Which no key can mend.
	case e.Verifier == nil && expires.IsZero():
		e.say(Error, "token", "every server refuses it: it has no exp", "mint it with an exp, as outcrier token does", lines...)
	case e.Verifier == nil && expires.Before(now):
		e.say(Error, "token", "every server refuses it: it has expired", remint, lines...)
	case e.Verifier == nil:
		e.found(Finding{Check: "token", Severity: OK, Text: "it says (no key was given to verify it with)", Details: lines})
	case err == nil:
		e.found(Finding{Check: "token", Severity: OK, Text: "it is good here, and says", Details: lines})
	case errors.Is(err, auth.ErrExpired):
		e.say(Error, "token", "it is refused: "+err.Error(), remint, lines...)
	case errors.Is(err, auth.ErrKeysUnavailable):
		e.say(Error, "token", "it can't be verified: the JWKS can't be fetched", "look at --jwks-url, from this machine", lines...)
	default:
		e.say(Error, "token", "it is refused: "+err.Error(), "compare what it says with --jwt-secret, --jwt-key-file, --jwks-url, --jwt-issuer and --jwt-audience", lines...)
	}
}

const remint = "have the application mint a new one before the old one ends"

// explain returns the claims of a token, valid or not, as lines of text, and when it
// expires (zero for never). The lines have nothing of its signature.
func explain(token string, now time.Time) (lines []string, expires time.Time, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, expires, fmt.Errorf("it has %d parts, a JWT has three", len(parts))
	}
	var header struct{ Alg, Kid string }
	var body struct {
		Sub, Iss      string
		Aud           any
		Exp, Nbf, Iat *float64
		Outcrier      *struct {
			Subscribe, Publish []string
			Admin              any
		}
	}
	for i, into := range []any{&header, &body} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, expires, errors.New("it is not base64url without padding")
		}
		if err := json.Unmarshal(text, into); err != nil {
			return nil, expires, fmt.Errorf("it is not JSON of the right shape: %w", err)
		}
	}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	named := func(what, value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return fmt.Sprintf("%s %q", what, value)
	}
	add("signed with %q, %s", header.Alg, named("by key", header.Kid, "no key named (kid)"))
	add("for subject %q, %s", body.Sub, named("of issuer", body.Iss, "no issuer named (iss)"))
	if body.Aud != nil {
		add("for audience %q: the server needs that as --jwt-audience", body.Aud)
	}
	moment := func(name string, at *float64) (t time.Time) {
		if at == nil {
			add("no %s", name)
			return t
		}
		t = time.Unix(int64(*at), 0).UTC()
		when := "in " + t.Sub(now).Round(time.Second).String()
		if t.Before(now) {
			when = now.Sub(t).Round(time.Second).String() + " ago"
		}
		add("%s %s, %s", name, t.Format(time.RFC3339), when)
		return t
	}
	moment("issued (iat)", body.Iat)
	expires = moment("expires (exp)", body.Exp)
	if body.Nbf != nil {
		moment("not before (nbf)", body.Nbf)
	}
	if body.Outcrier == nil {
		add("it has no claim outcrier, and so grants nothing")
		return lines, expires, nil
	}
	list := func(what string, topics []string) {
		if len(topics) == 0 {
			add("%s: nothing", what)
			return
		}
		add("%s: %s", what, strings.Join(topics, ", "))
	}
	list("may subscribe to", body.Outcrier.Subscribe)
	list("may publish on", body.Outcrier.Publish)
	switch admin := body.Outcrier.Admin.(type) {
	case []any:
		add("admin: %s", strings.Trim(fmt.Sprint(admin), "[]"))
	case nil:
		add("admin: false")
	default:
		add("admin: %v", admin)
	}
	return lines, expires, nil
}
