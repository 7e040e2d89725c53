package auth_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParseKeys_TakeWhatIsStrongAndSayWhatIsNot(t *testing.T) {
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	pkcs8 := func(private any) []byte { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private))) }
	secretOf := func(n int) []byte { return bytes.Repeat([]byte("s"), n) }
	public := func(file []byte) func() ([]*auth.Key, error) {
		return func() ([]*auth.Key, error) { return auth.ParsePublicKeys(file) }
	}
	one := func(key *auth.Key, err error) func() ([]*auth.Key, error) {
		return func() ([]*auth.Key, error) {
			if err != nil {
				return nil, err
			}
			return []*auth.Key{key}, nil
		}
	}
	for name, test := range map[string]struct {
		parse func() ([]*auth.Key, error)
		want  string // algorithms, or something of the error
	}{
		"secret of 32 bytes":     {one(auth.ParseSecret(secretOf(32))), "HS256"},
		"secret of 31 bytes":     {one(auth.ParseSecret(secretOf(31))), "31 bytes, at least 32"},
		"secret empty":           {one(auth.ParseSecret(nil)), "0 bytes, at least 32"},
		"secret a public key":    {one(auth.ParseSecret(publicPEM(rsaKey()))), "PEM"},
		"secret a PEM, indented": {one(auth.ParseSecret(append([]byte("\n  "), publicPEM(ecKey)...))), "PEM"},

		"public RSA":            {public(publicPEM(rsaKey())), "RS256"},
		"public RSA, PKCS #1":   {public(block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey))), "RS256"},
		"public P-256":          {public(publicPEM(ecKey)), "ES256"},
		"public Ed25519":        {public(publicPEM(edKey)), "EdDSA"},
		"several":               {public(slices.Concat(publicPEM(ecKey), []byte("\n\n"), publicPEM(edKey))), "ES256 EdDSA"},
		"public RSA, 1024 bits": {public(publicPEM(smallRSA())), "1024 bits; allowed are 2048 to 8192"},
		"public P-384":          {public(publicPEM(p384)), "P-384; allowed is P-256"},
		"public X25519":         {public(block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(x25519.PublicKey())))), "kind *ecdh.PublicKey"},
		"public key private":    {public(pkcs8(ecKey)), "a private key"},
		"a certificate":         {public(block("CERTIFICATE", []byte("x"))), `"CERTIFICATE"; allowed are PUBLIC KEY`},
		"public key broken":     {public(block("PUBLIC KEY", []byte("x"))), "public key 1"},
		"the second broken":     {public(append(publicPEM(ecKey), block("PUBLIC KEY", []byte("x"))...)), "public key 2"},
		"public key and more":   {public(append(publicPEM(ecKey), "more"...)), "not a PEM file"},
		"public key empty":      {public(nil), "the file is empty"},
		"public key no PEM":     {public(secret), "not a PEM file"},

		"private RSA":            {one(auth.ParsePrivateKey(pkcs8(rsaKey()))), "RS256"},
		"private RSA, PKCS #1":   {one(auth.ParsePrivateKey(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())))), "RS256"},
		"private P-256":          {one(auth.ParsePrivateKey(pkcs8(ecKey))), "ES256"},
		"private P-256, SEC 1":   {one(auth.ParsePrivateKey(block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey))))), "ES256"},
		"private Ed25519":        {one(auth.ParsePrivateKey(pkcs8(edKey))), "EdDSA"},
		"private RSA, 1024 bits": {one(auth.ParsePrivateKey(pkcs8(smallRSA()))), "1024 bits"},
		"private X25519":         {one(auth.ParsePrivateKey(pkcs8(x25519))), "does not sign"},
		"private key public":     {one(auth.ParsePrivateKey(publicPEM(ecKey))), `"PUBLIC KEY"; allowed are PRIVATE KEY`},
		"private key encrypted":  {one(auth.ParsePrivateKey(block("ENCRYPTED PRIVATE KEY", []byte("x")))), "not encrypted"},
		"private key broken":     {one(auth.ParsePrivateKey(block("PRIVATE KEY", []byte("x")))), "private key"},
		"private key no PEM":     {one(auth.ParsePrivateKey([]byte("x"))), "not a PEM file"},
		"private keys":           {one(auth.ParsePrivateKey(append(pkcs8(ecKey), pkcs8(edKey)...))), "one block"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := test.parse()
			var algorithms []string
			for _, key := range keys {
				algorithms = append(algorithms, key.Algorithm())
			}
			if got := strings.Join(algorithms, " "); err == nil && got != test.want {
				t.Errorf("%s", got)
			}
			if err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want something about %q", err, test.want)
			}
		})
	}
}

func TestKey_IsNotPrinted(t *testing.T) {
	key := must(auth.ParseSecret(secret))
	key.ID = "main"
	var log strings.Builder
	logger(&log).Info("key", "key", key, "config", auth.Config{Keys: []*auth.Key{key}}, slog.Any("keys", []*auth.Key{key}))
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "key", key)
	principal := accepted(t, newVerifier(t, nil), hs(body()))
	written, _ := json.Marshal(key)
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q", key, key, key, key, key),
		fmt.Sprintf("%v %+v %#v", []*auth.Key{key}, []*auth.Key{key}, []*auth.Key{key}),
		fmt.Sprintf("%v %+v %#v", principal, principal, principal),
		log.String(), string(written),
	} {
		for _, hidden := range []string{string(secret), b64(secret), fmt.Sprintf("%v", []byte(secret))[1:20], fmt.Sprintf("%x", secret), fmt.Sprintf("%#v", secret)[8:40]} {
			if strings.Contains(text, hidden) {
				t.Errorf("the secret is in %q", text)
			}
		}
	}
	if got := fmt.Sprintf("%v", key); got != `HS256 key "main"` {
		t.Error(got)
	}
}

func TestMint_IsWhatVerifyTakes(t *testing.T) {
	claims := auth.Claims{
		Subject: "ann", Issuer: "https://issuer/", Audience: "outcrier", Admin: true,
		Subscribe: []outbox.Pattern{"user/42/**"}, Publish: []outbox.Pattern{"audit/*"},
	}
	for _, private := range []any{secret, rsaKey(), ecKey, edKey} {
		key, err := auth.ParseSecret(secret)
		if _, isSecret := private.([]byte); !isSecret {
			key, err = auth.ParsePrivateKey(block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private))))
		}
		if err != nil {
			t.Fatal(err)
		}
		key.ID = "main"
		v := newVerifier(t, func(c *auth.Config) { c.Keys, c.Issuer, c.Audience = []*auth.Key{key}, claims.Issuer, claims.Audience })
		token, err := auth.Mint(key, claims, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		p := accepted(t, v, token)
		if fmt.Sprint(p.Subject, p.Subscribe, p.Publish, p.Admin) != "ann[user/42/**] [audit/*] true" || (time.Until(p.Expires)-time.Hour-30*time.Second).Abs() > 10*time.Second {
			t.Errorf("%s: %+v", key, p)
		}
	}
}

func TestMint_RefusesWhatVerifyWould(t *testing.T) {
	key := must(auth.ParseSecret(secret))
	for says, mint := range map[string]func() (string, error){
		"a public key does not sign": func() (string, error) { return auth.Mint(publicKey("", ecKey), auth.Claims{}, time.Hour) },
		"at least 1s is needed":      func() (string, error) { return auth.Mint(key, auth.Claims{}, 0) },
		`topic "**/a"`: func() (string, error) {
			return auth.Mint(key, auth.Claims{Subscribe: []outbox.Pattern{"**/a"}}, time.Hour)
		},
		"invisible characters": func() (string, error) { return auth.Mint(key, auth.Claims{Subject: "a\n"}, time.Hour) },
		"8192 bytes": func() (string, error) {
			return auth.Mint(key, auth.Claims{Publish: slices.Repeat([]outbox.Pattern{outbox.Pattern(strings.Repeat("a", 255))}, 100)}, time.Hour)
		},
	} {
		if token, err := mint(); token != "" || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want something about %q", err, says)
		}
	}
}
