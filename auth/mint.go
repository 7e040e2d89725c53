package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Claims are what a minted token says. Empty ones are left out.
type Claims struct {
	Subject, Issuer, Audience string
	Subscribe, Publish        []outbox.Pattern
	Admin                     bool
}

// Mint signs a token that is good for ttl from now on, with the key's ID as kid if
// it has one. It is for development: an application mints its own. A token that
// Verify would refuse by what it says is not minted.
func Mint(key *Key, claims Claims, ttl time.Duration) (string, error) {
	switch {
	case key.sign == nil:
		return "", errors.New("mint token: a public key does not sign, a secret or private key is needed")
	case ttl < time.Second:
		return "", fmt.Errorf("mint token: good for %s, at least 1s is needed", ttl)
	}
	now := time.Now()
	grants := map[string]any{}
	body := jwt.MapClaims{"iat": now.Unix(), "exp": now.Add(ttl).Unix(), "outcrier": grants}
	for name, value := range map[string]string{"sub": claims.Subject, "iss": claims.Issuer, "aud": claims.Audience} {
		if value != "" {
			body[name] = value
		}
	}
	for name, value := range map[string][]outbox.Pattern{"subscribe": claims.Subscribe, "publish": claims.Publish} {
		if len(value) > 0 {
			grants[name] = value
		}
	}
	if claims.Admin {
		grants["admin"] = true
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
