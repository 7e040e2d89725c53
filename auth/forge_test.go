package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/auth"
)

var secret = []byte("correct horse battery staple, 32 bytes and more")

// Keys of the issuer, and one of each kind that is not.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = newEC()
	edKey    = newEd()
	evilEC   = newEC()
	evilEd   = newEd()
	smallRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 1024)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newEC() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func newEd() ed25519.PrivateKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return must(private, err)
}

func publicPEM(private crypto.Signer) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(private.Public()))})
}

func publicKey(id string, private crypto.Signer) *auth.Key {
	key := must(auth.ParsePublicKeys(publicPEM(private)))[0]
	key.ID = id
	return key
}

// keys are what the verifier of a test trusts.
func keys() []*auth.Key {
	return []*auth.Key{must(auth.ParseSecret(secret)), publicKey("rsa", rsaKey()), publicKey("ec", ecKey), publicKey("ed", edKey)}
}

func newVerifier(t testing.TB, change func(*auth.Config)) *auth.Verifier {
	t.Helper()
	config := auth.Config{Keys: keys()}
	if change != nil {
		change(&config)
	}
	v, err := auth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// forge signs any header and claims, allowed or not.
func forge(header, body string, method jwt.SigningMethod, key any) string {
	text := b64([]byte(header)) + "." + b64([]byte(body))
	return text + "." + b64(must(method.Sign(text, key)))
}

func hs(body string) string { return forge(`{"alg":"HS256"}`, body, jwt.SigningMethodHS256, secret) }

func es(header, body string) string { return forge(header, body, jwt.SigningMethodES256, ecKey) }

// body is one that is good, with more members.
func body(more ...string) string {
	members := append([]string{`"sub":"ann"`, expIn(time.Hour), `"outcrier":{"subscribe":["user/42/**"]}`}, more...)
	return "{" + strings.Join(members, ",") + "}"
}

// bare is a body of these members only.
func bare(members ...string) string { return "{" + strings.Join(members, ",") + "}" }

func at(name string, in time.Duration) string {
	return fmt.Sprintf(`%q:%d`, name, time.Now().Add(in).Unix())
}

func expIn(d time.Duration) string { return at("exp", d) }

// granting is a good body with this claim outcrier.
func granting(claim string) string { return bare(expIn(time.Hour), `"outcrier":`+claim) }

func jwk(id string, private crypto.Signer, more ...string) string {
	fields := map[string]any{}
	switch public := private.Public().(type) {
	case *rsa.PublicKey:
		fields = map[string]any{"kty": "RSA", "n": b64(public.N.Bytes()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		point := must(public.Bytes())
		half := len(point) / 2
		fields = map[string]any{"kty": "EC", "crv": public.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		fields = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(public)}
	}
	if id != "" {
		fields["kid"] = id
	}
	for i := 0; i < len(more); i += 2 {
		var value any
		if err := json.Unmarshal([]byte(more[i+1]), &value); err != nil {
			panic(err)
		}
		fields[more[i]] = value
	}
	return string(must(json.Marshal(fields)))
}

func jwkSet(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
