package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Claims are the claims of a minted token. Empty ones are left out.
type Claims struct {
	Subject, Issuer, Audience string
	// ID is the jti, by which the token alone can be revoked.
	ID                 string
	Subscribe, Publish []outbox.Pattern
	// Admin grants everything that admins may do, Grants a part of it.
	Admin  bool
	Grants []Grant
}

// Mint signs a token that is valid for ttl from now on, with the key's ID as kid if it has
// one. It is for development: an application mints its own. It does not mint a token whose
// claims Verify would refuse.
func Mint(key *Key, claims Claims, ttl time.Duration) (string, error) {
	switch {
	case key.sign == nil:
		return "", errors.New("mint token: a public key does not sign, a secret or private key is needed")
	case ttl < time.Second:
		return "", fmt.Errorf("mint token: valid for %s, at least 1s is needed", ttl)
	}
	now := time.Now()
	grants := map[string]any{}
	// With its fraction, so that a token that is minted right after its subject was revoked
	// is valid.
	body := jwt.MapClaims{"iat": float64(now.UnixMicro()) / 1e6, "exp": now.Add(ttl).Unix(), "outcrier": grants}
	for name, value := range map[string]string{"sub": claims.Subject, "iss": claims.Issuer, "aud": claims.Audience, "jti": claims.ID} {
		if value != "" {
			body[name] = value
		}
	}
	for name, value := range map[string][]outbox.Pattern{"subscribe": claims.Subscribe, "publish": claims.Publish} {
		if len(value) > 0 {
			grants[name] = value
		}
	}
	switch {
	case claims.Admin:
		grants["admin"] = true
	case len(claims.Grants) > 0:
		grants["admin"] = claims.Grants
	}
	unsigned := jwt.NewWithClaims(key.method, body)
	if key.ID != "" {
		unsigned.Header["kid"] = key.ID
	}
	token, err := unsigned.SignedString(key.sign)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	parts, err := parseCompact(token)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	if _, err := parseClaims(parts.body); err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return token, nil
}
