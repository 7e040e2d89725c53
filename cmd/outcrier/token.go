package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

// tokenConfig is the settings of "outcrier token".
type tokenConfig struct {
	Subject        string        `scope:"token" name:"subject" help:"the user or service that the token is for (sub)"`
	Subscribe      []string      `scope:"token" name:"subscribe" help:"the topic that it grants to subscribe to, exact or a pattern"`
	Publish        []string      `scope:"token" name:"publish" help:"the topic that it grants to publish on, exact or a pattern"`
	Admin          string        `scope:"token" name:"admin" bare:"true" help:"grant the rights of admins: all of them without a value, or some of metrics, read, operate, catalogue and erase, separated by commas"`
	ID             string        `scope:"token" name:"jti" help:"the token's id (jti), by which this token alone can be revoked"`
	TTL            time.Duration `scope:"token" name:"ttl" default:"1h" allow:"1s..87600h" help:"how long the token is valid"`
	JWTSecret      string        `name:"jwt-secret" secret:"true" help:"the secret to sign it with, as the server has it"`
	JWTSecretFile  string        `name:"jwt-secret-file" help:"a file with that secret"`
	JWTPrivateFile string        `name:"jwt-private-key-file" help:"a PEM file with the private key to sign it with; the server needs its public key"`
	JWTKeyID       string        `name:"jwt-key-id" help:"the kid of the key; none by default"`
	JWTIssuer      string        `name:"jwt-issuer" help:"the token's issuer (iss)"`
	JWTAudience    string        `name:"jwt-audience" help:"the token's audience (aud)"`
	LogSettings
}

func (tokenConfig) Help() string {
	return `Mints a token with the key that a server verifies with, and prints it:

  export OUTCRIER_JWT_SECRET=$(openssl rand -hex 32)
  export OUTCRIER_TOKEN=$(outcrier token --subject ann --subscribe 'user/42/**')

An application mints its own tokens, with a JWT library and the same claims.`
}

func (c *tokenConfig) check(r *report) {
	given := 0
	for _, source := range []string{c.JWTSecret, c.JWTSecretFile, c.JWTPrivateFile} {
		if source != "" {
			given++
		}
	}
	if given != 1 {
		r.reject("jwt-secret", "give one of --jwt-secret, --jwt-secret-file and --jwt-private-key-file")
		return
	}
	if flag, _, err := c.key(); err != nil {
		r.reject(flag, "%v", err)
	}
	if _, _, err := auth.ParseGrants(c.Admin); err != nil {
		r.reject("admin", "%v", err)
	}
	for flag, topics := range map[string][]string{"subscribe": c.Subscribe, "publish": c.Publish} {
		if _, err := parsePatterns(topics); err != nil {
			r.reject(flag, "%v", err)
		}
	}
}

// key is what to sign with, and the setting that it is from.
func (c tokenConfig) key() (flag string, key *auth.Key, err error) {
	switch {
	case c.JWTSecret != "":
		flag = "jwt-secret"
		key, err = auth.ParseSecret([]byte(c.JWTSecret))
	case c.JWTSecretFile != "":
		flag = "jwt-secret-file"
		key, err = readKey(c.JWTSecretFile, parseSecretFile)
	default:
		flag = "jwt-private-key-file"
		key, err = readKey(c.JWTPrivateFile, auth.ParsePrivateKey)
	}
	if err == nil {
		key.ID = c.JWTKeyID
	}
	return flag, key, err
}

func parsePatterns(texts []string) (patterns []outbox.Pattern, err error) {
	for _, text := range texts {
		pattern, err := outbox.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, pattern)
	}
	return patterns, nil
}

func (c tokenConfig) Run(_ context.Context, p process) error {
	_, key, err := c.key()
	subscribe, err1 := parsePatterns(c.Subscribe)
	publish, err2 := parsePatterns(c.Publish)
	all, grants, err3 := auth.ParseGrants(c.Admin)
	if err := errors.Join(err, err1, err2, err3); err != nil {
		return err
	}
	token, err := auth.Mint(key, auth.Claims{
		Subject: c.Subject, ID: c.ID, Issuer: c.JWTIssuer, Audience: c.JWTAudience,
		Subscribe: subscribe, Publish: publish, Admin: all, Grants: grants,
	}, c.TTL)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, token)
	return err
}
