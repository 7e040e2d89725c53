package doctor

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

func TestToken_IsExplained(t *testing.T) {
	key, err := auth.ParseSecret([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := auth.ParseSecret([]byte(strings.Repeat("o", 32)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.Mint(key, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"user/42/**"}, Publish: []outbox.Pattern{"audit/**"}}, time.Hour-10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	verifier := func(config auth.Config) *auth.Verifier {
		v, err := auth.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	good := []string{"no key named (kid)", `subject "ann", no issuer named (iss)`, "may subscribe to: user/42/**", "may publish on: audit/**", "admin: false", "expires (exp)", "in 59m"}
	found := examine(t, Config{Token: token})
	found.want(t, OK, "token", good...)
	f := examine(t, Config{Token: token, Verifier: verifier(auth.Config{Keys: []*auth.Key{key}})}).want(t, OK, "token", append(good, "it is good here")...)
	if signature := token[strings.LastIndexByte(token, '.')+1:]; strings.Contains(strings.Join(f.Details, ""), signature) {
		t.Error("it shows the signature")
	}
	for want, config := range map[string]auth.Config{
		"signature is wrong":     {Keys: []*auth.Key{other}},
		"iss is not the issuer":  {Keys: []*auth.Key{key}, Issuer: "https://issuer.example.com"},
		"aud does not name this": {Keys: []*auth.Key{key}, Audience: "outcrier"},
	} {
		examine(t, Config{Token: token, Verifier: verifier(config)}).want(t, Error, "token", want, "may subscribe to: user/42/**")
	}
	examine(t, Config{Token: "hunter2"}).want(t, Error, "token", "has 1 parts")
}

// A fault that no key can mend is reported without a key.
func TestToken_WithoutAKeyIsNotGoodWhenItCannotBe(t *testing.T) {
	token := func(body string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(body)) + ".c2lnbmVk"
	}
	examine(t, Config{Token: token(`{"sub":"ann"}`)}).want(t, Error, "token", "it has no exp", `subject "ann"`)
	past := fmt.Sprintf(`{"sub":"ann","exp":%d}`, time.Now().Add(-time.Hour).Unix())
	examine(t, Config{Token: token(past)}).want(t, Error, "token", "it has expired", "1h0m", " ago", "mint a new one")
}
