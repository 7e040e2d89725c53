package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/auth"
)

// challenge is what RFC 6750, section 3, allows in the header.
var challenge = regexp.MustCompile(`^Bearer error="invalid_token", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]+"$`)

// Each attack is built for real; the words say by which check it must fall.
func TestVerify_Attacks(t *testing.T) {
	var fetched atomic.Int32
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = w.Write([]byte(jwkSet(jwk("evil", evilEC))))
	}))
	defer evil.Close()

	good := body()
	hs256, rs256, es256, eddsa := jwt.SigningMethodHS256, jwt.SigningMethodRS256, jwt.SigningMethodES256, jwt.SigningMethodEdDSA
	resigned := func(token string, signature []byte) string {
		return token[:strings.LastIndex(token, ".")+1] + b64(signature)
	}
	signatureOf := func(token string) []byte {
		return must(base64.RawURLEncoding.DecodeString(token[strings.LastIndex(token, ".")+1:]))
	}
	esGood := es(`{"alg":"ES256","kid":"ec"}`, good)
	edGood := forge(`{"alg":"EdDSA","kid":"ed"}`, good, eddsa, edKey)
	n := elliptic.P256().Params().N
	pair := func(r, s *big.Int) []byte {
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	der := func() []byte {
		hash := sha256.Sum256([]byte(esGood[:strings.LastIndex(esGood, ".")]))
		return must(ecdsa.SignASN1(rand.Reader, ecKey, hash[:]))
	}
	// Ed25519 with S + L, which verifies where S is not checked to be canonical.
	plusL := func() []byte {
		signature := signatureOf(edGood)
		l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
		little := append([]byte(nil), signature[32:]...)
		reverse(little)
		big := new(big.Int).Add(new(big.Int).SetBytes(little), l).FillBytes(make([]byte, 32))
		reverse(big)
		return append(signature[:32:32], big...)
	}
	lastBits := func() string { // another text for the same signature
		token := hs(good)
		last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", token[len(token)-1])
		return token[:len(token)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1])
	}
	plus := func() string { // a token with a "-" in it, in the other alphabet
		for i := 0; ; i++ {
			if token := hs(body(fmt.Sprintf(`"jti":"%d"`, i))); strings.ContainsAny(token, "-_") {
				return strings.NewReplacer("-", "+", "_", "/").Replace(token)
			}
		}
	}
	padded := func() string { // a token whose body would have padding
		for pad := ""; ; pad += "x" {
			if parts := strings.Split(hs(body(`"jti":"`+pad+`"`)), "."); len(parts[1])%4 != 0 {
				parts[1] += strings.Repeat("=", 4-len(parts[1])%4)
				text := parts[0] + "." + parts[1]
				return text + "." + b64(must(hs256.Sign(text, secret)))
			}
		}
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	many := func(n int) string { return `["a"` + strings.Repeat(`,"a"`, n-1) + `]` }

	const (
		signature = "signature is wrong"
		noKey     = "no key"
		algorithm = "alg is not supported"
		noAlg     = "no alg"
		encoding  = "base64url"
		parts     = "three parts"
		header    = "header is not a JSON object"
		crit      = "crit"
		kid       = "kid is not"
	)
	type attack struct{ token, says string }
	attacks := map[string]attack{
		// The algorithm is the key's.
		"none, no signature":           {b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(good)) + ".", "not signed"},
		"none, some signature":         {forge(`{"alg":"none"}`, good, hs256, secret), algorithm},
		"None":                         {forge(`{"alg":"None"}`, good, hs256, secret), algorithm},
		"NONE":                         {forge(`{"alg":"NONE"}`, good, hs256, secret), algorithm},
		"nOnE":                         {forge(`{"alg":"nOnE"}`, good, hs256, secret), algorithm},
		"alg in lower case":            {forge(`{"alg":"hs256"}`, good, hs256, secret), algorithm},
		"alg with a space":             {forge(`{"alg":"HS256 "}`, good, hs256, secret), algorithm},
		"alg missing":                  {forge(`{"typ":"JWT"}`, good, hs256, secret), noAlg},
		"alg empty":                    {forge(`{"alg":""}`, good, hs256, secret), noAlg},
		"alg null":                     {forge(`{"alg":null}`, good, hs256, secret), noAlg},
		"alg a list":                   {forge(`{"alg":["HS256"]}`, good, hs256, secret), noAlg},
		"alg in capitals only":         {forge(`{"ALG":"HS256"}`, good, hs256, secret), noAlg},
		"alg twice":                    {forge(`{"alg":"none","alg":"HS256"}`, good, hs256, secret), header},
		"alg twice, once escaped":      {forge(`{"alg":"HS256","\u0061lg":"none"}`, good, hs256, secret), header},
		"HS512 with the secret":        {forge(`{"alg":"HS512"}`, good, jwt.SigningMethodHS512, secret), algorithm},
		"RS512 with the RSA key":       {forge(`{"alg":"RS512","kid":"rsa"}`, good, jwt.SigningMethodRS512, rsaKey()), algorithm},
		"PS256 with the RSA key":       {forge(`{"alg":"PS256","kid":"rsa"}`, good, jwt.SigningMethodPS256, rsaKey()), algorithm},
		"HS256 by the RSA PEM":         {forge(`{"alg":"HS256","kid":"rsa"}`, good, hs256, publicPEM(rsaKey())), signature},
		"HS256 by the RSA PEM trimmed": {forge(`{"alg":"HS256"}`, good, hs256, []byte(strings.TrimSpace(string(publicPEM(rsaKey()))))), signature},
		"HS256 by the RSA DER":         {forge(`{"alg":"HS256","kid":"rsa"}`, good, hs256, must(x509.MarshalPKIXPublicKey(rsaKey().Public()))), signature},
		"HS256 by the RSA modulus":     {forge(`{"alg":"HS256","kid":"rsa"}`, good, hs256, rsaKey().N.Bytes()), signature},
		"HS256 by the P-256 PEM":       {forge(`{"alg":"HS256","kid":"ec"}`, good, hs256, publicPEM(ecKey)), signature},
		"HS256 by the Ed25519 key":     {forge(`{"alg":"HS256","kid":"ed"}`, good, hs256, []byte(edKey[32:])), signature},
		"HS256 by the JWK":             {forge(`{"alg":"HS256","kid":"ec"}`, good, hs256, []byte(jwk("ec", ecKey))), signature},
		"RS256 said, HS256 signed":     {forge(`{"alg":"RS256","kid":"rsa"}`, good, hs256, publicPEM(rsaKey())), signature},
		"ES256 said of the RSA key":    {forge(`{"alg":"ES256","kid":"rsa"}`, good, es256, evilEC), noKey},
		"RS256 said of the P-256 key":  {forge(`{"alg":"RS256","kid":"ec"}`, good, rs256, smallRSA()), noKey},
		"HS256 by the empty secret":    {forge(`{"alg":"HS256"}`, good, hs256, []byte{}), signature},
		"HS256 by a prefix of it":      {forge(`{"alg":"HS256"}`, good, hs256, secret[:32]), signature},

		// Signatures.
		"another's P-256 key":           {forge(`{"alg":"ES256","kid":"ec"}`, good, es256, evilEC), signature},
		"another's Ed25519 key":         {forge(`{"alg":"EdDSA","kid":"ed"}`, good, eddsa, evilEd), signature},
		"psychic: r and s zero":         {resigned(esGood, make([]byte, 64)), signature},
		"psychic: r zero":               {resigned(esGood, pair(big.NewInt(0), big.NewInt(1))), signature},
		"psychic: r and s the order":    {resigned(esGood, pair(n, n)), signature},
		"psychic: in DER":               {resigned(esGood, []byte{0x30, 6, 2, 1, 0, 2, 1, 0}), signature},
		"P-256 signature in DER":        {resigned(esGood, der()), signature},
		"Ed25519 signature zero":        {resigned(edGood, make([]byte, 64)), signature},
		"Ed25519 signature with S + L":  {resigned(edGood, plusL()), signature},
		"signature cut":                 {resigned(hs(good), signatureOf(hs(good))[:31]), signature},
		"signature cut to a byte":       {resigned(hs(good), signatureOf(hs(good))[:1]), signature},
		"signature longer":              {resigned(esGood, append(signatureOf(esGood), 0)), signature},
		"RSA signature cut":             {resigned(forge(`{"alg":"RS256"}`, good, rs256, rsaKey()), make([]byte, 255)), signature},
		"RSA signature zero":            {resigned(forge(`{"alg":"RS256"}`, good, rs256, rsaKey()), make([]byte, 256)), signature},
		"RSA signature one":             {resigned(forge(`{"alg":"RS256"}`, good, rs256, rsaKey()), append(make([]byte, 255), 1)), signature},
		"signature of another body":     {b64([]byte(`{"alg":"HS256"}`)) + "." + b64([]byte(granting(`{"admin":true}`))) + hs(good)[strings.LastIndex(hs(good), "."):], signature},
		"signature in other last bits":  {lastBits(), encoding},
		"header changed behind its key": {b64([]byte(`{"alg":"ES256","kid":"ec","x":1}`)) + esGood[strings.Index(esGood, "."):], signature},

		// The kid is a name and nothing else.
		"kid a path, the empty secret":  {forge(`{"alg":"HS256","kid":"../../../../../dev/null"}`, good, hs256, []byte{}), signature},
		"kid a path, a NUL for secret":  {forge(`{"alg":"HS256","kid":"/dev/zero"}`, good, hs256, []byte{0}), signature},
		"kid SQL":                       {forge(`{"alg":"HS256","kid":"x' UNION SELECT 'evil"}`, good, hs256, []byte("evil")), signature},
		"kid a command":                 {forge(`{"alg":"ES256","kid":"|curl evil"}`, good, es256, evilEC), noKey},
		"kid a URL":                     {forge(`{"alg":"ES256","kid":"`+evil.URL+`"}`, good, es256, evilEC), noKey},
		"kid of another key":            {es(`{"alg":"ES256","kid":"ed"}`, good), noKey},
		"kid in another case":           {es(`{"alg":"ES256","kid":"EC"}`, good), noKey},
		"kid with NUL":                  {es(`{"alg":"ES256","kid":"ec\u0000"}`, good), noKey},
		"kid long":                      {es(`{"alg":"ES256","kid":"`+strings.Repeat("k", 256)+`"}`, good), kid},
		"kid a number":                  {es(`{"alg":"ES256","kid":1}`, good), kid},
		"kid null":                      {es(`{"alg":"ES256","kid":null}`, good), kid},
		"kid an object":                 {es(`{"alg":"ES256","kid":{}}`, good), kid},
		"kid missing, another's key":    {forge(`{"alg":"ES256"}`, good, es256, evilEC), signature},
		"jwk embedded":                  {forge(`{"alg":"ES256","jwk":`+jwk("", evilEC)+`}`, good, es256, evilEC), signature},
		"jwk embedded with our kid":     {forge(`{"alg":"ES256","kid":"ec","jwk":`+jwk("ec", evilEC)+`}`, good, es256, evilEC), signature},
		"jku of another":                {forge(`{"alg":"ES256","kid":"evil","jku":"`+evil.URL+`"}`, good, es256, evilEC), noKey},
		"x5u of another":                {forge(`{"alg":"ES256","kid":"ec","x5u":"`+evil.URL+`"}`, good, es256, evilEC), signature},
		"x5c embedded":                  {forge(`{"alg":"ES256","x5c":["`+base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(evilEC.Public())))+`"]}`, good, es256, evilEC), signature},
		"crit":                          {es(`{"alg":"ES256","crit":["exp"],"exp":1}`, good), crit},
		"crit empty":                    {es(`{"alg":"ES256","crit":[]}`, good), crit},
		"crit null":                     {es(`{"alg":"ES256","crit":null}`, good), crit},
		"crit with a body not encoded":  {es(`{"alg":"ES256","b64":false,"crit":["b64"]}`, good), crit},
		"typ of a logout token":         {es(`{"alg":"ES256","typ":"logout+jwt"}`, good), "typ"},
		"typ of a proof of possession":  {es(`{"alg":"ES256","typ":"dpop+jwt"}`, good), "typ"},
		"typ a number":                  {es(`{"alg":"ES256","typ":1}`, good), "typ"},
		"header an array":               {forge(`[{"alg":"HS256"}]`, good, hs256, secret), header},
		"header null":                   {forge(`null`, good, hs256, secret), header},
		"header empty":                  {forge(``, good, hs256, secret), header},
		"header with a byte order mark": {forge("\ufeff"+`{"alg":"HS256"}`, good, hs256, secret), header},
		"header and more":               {forge(`{"alg":"HS256"}{"alg":"none"}`, good, hs256, secret), header},
		"header not UTF-8":              {forge("{\"alg\":\"HS256\",\"x\":\"\xff\"}", good, hs256, secret), header},
		"header nested deep":            {forge(`{"alg":"HS256","x":`+deep(1500)+`}`, good, hs256, secret), header},

		// The form.
		"empty":                        {"", parts},
		"a word":                       {"token", parts},
		"dots":                         {"..", "not signed"},
		"two parts":                    {strings.Join(strings.Split(hs(good), ".")[:2], "."), parts},
		"four parts":                   {hs(good) + "." + b64([]byte("x")), parts},
		"a dot behind":                 {hs(good) + ".", parts},
		"detached body":                {strings.Split(hs(good), ".")[0] + ".." + strings.Split(hs(good), ".")[2], signature},
		"JWE":                          {b64([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + "..AAAA.AAAA.AAAA", "JWE"},
		"JWS in JSON":                  {`{"payload":"` + b64([]byte(good)) + `","signatures":[]}`, parts},
		"standard base64":              {plus(), encoding},
		"padded":                       {padded(), encoding},
		"a space before":               {" " + hs(good), encoding},
		"a line break behind":          {hs(good) + "\n", encoding},
		"CR LF within":                 {hs(good)[:30] + "\r\n" + hs(good)[30:], encoding},
		"NUL behind":                   {hs(good) + "\x00", encoding},
		"Bearer before":                {"Bearer " + hs(good), encoding},
		"fullwidth dots":               {strings.ReplaceAll(hs(good), ".", "．"), parts},
		"too long":                     {hs(body(`"x":"` + strings.Repeat("x", 8000) + `"`)), "8192 bytes"},
		"giant":                        {strings.Repeat("a.", 5<<20), "8192 bytes"},
		"body an array":                {hs(`[` + good + `]`), "not a JSON object"},
		"body null":                    {hs(`null`), "not a JSON object"},
		"body text":                    {hs(`hello`), "not JSON"},
		"body and more":                {hs(good + good), "not JSON"},
		"body with a comma too many":   {hs(`{` + expIn(time.Hour) + `,}`), "not JSON"},
		"body with a comma for a list": {hs(bare(expIn(time.Hour), `"x":[,]`)), "not JSON"},
		"body not UTF-8":               {hs(body("\"x\":\"\xff\"")), "not JSON in UTF-8"},
		"body compressed":              {forge(`{"alg":"HS256","zip":"DEF"}`, "\xab\x56\x4a", hs256, secret), "not JSON"},
		"body nested deep":             {hs(body(`"x":` + deep(16))), "deeper"},
		"body nested very deep":        {hs(body(`"x":` + deep(2500))), "deeper"},

		// Times.
		"exp missing":              {hs(bare(`"sub":"ann"`)), "exp is missing"},
		"exp null":                 {hs(bare(`"exp":null`)), "exp must be a number"},
		"exp a string":             {hs(bare(`"exp":"9999999999"`)), "exp must be a number"},
		"exp true":                 {hs(bare(`"exp":true`)), "exp must be a number"},
		"exp a list":               {hs(bare(`"exp":[9999999999]`)), "exp must be a number"},
		"exp zero":                 {hs(bare(`"exp":0`)), "exp is out of range"},
		"exp negative":             {hs(bare(`"exp":-1`)), "exp is out of range"},
		"exp 1e308":                {hs(bare(`"exp":1e308`)), "exp is out of range"},
		"exp 1e400":                {hs(bare(`"exp":1e400`)), "exp is out of range"},
		"exp -1e308":               {hs(bare(`"exp":-1e308`)), "exp is out of range"},
		"exp past an int64":        {hs(bare(`"exp":9223372036854775808`)), "exp is out of range"},
		"exp in milliseconds":      {hs(bare(fmt.Sprintf(`"exp":%d`, time.Now().Add(time.Hour).UnixMilli()))), "exp is out of range"},
		"exp NaN":                  {hs(bare(`"exp":NaN`)), "not JSON"},
		"exp long ago":             {hs(bare(expIn(-time.Hour))), "expired"},
		"exp beyond the leeway":    {hs(bare(expIn(-32 * time.Second))), "expired"},
		"exp a fraction, long ago": {hs(bare(`"exp":1.5`)), "expired"},
		"EXP for exp":              {hs(bare(at("EXP", time.Hour))), "exp is missing"},
		"Exp over exp":             {hs(bare(expIn(-time.Hour), at("Exp", time.Hour))), "expired"},
		"exp in Cyrillic":          {hs(bare(at("ехр", time.Hour))), "exp is missing"},
		"exp twice":                {hs(bare(expIn(-time.Hour), expIn(time.Hour))), "twice"},
		"exp twice, once escaped":  {hs(bare(expIn(-time.Hour), strings.Replace(expIn(time.Hour), "e", `\u0065`, 1))), "twice"},
		"exp in the header":        {forge(`{"alg":"HS256",`+expIn(time.Hour)+`}`, bare(`"sub":"ann"`), hs256, secret), "exp is missing"},
		"nbf in the future":        {hs(body(at("nbf", time.Minute))), "nbf is in the future"},
		"nbf far in the future":    {hs(body(`"nbf":1e308`)), "nbf is out of range"},
		"nbf a string":             {hs(body(`"nbf":"1"`)), "nbf must be a number"},
		"iat in the future":        {hs(body(at("iat", time.Minute))), "iat is in the future"},
		"iat null":                 {hs(body(`"iat":null`)), "iat must be a number"},

		// Parties.
		"aud where the server has no name":       {hs(body(`"aud":"another"`)), "aud"},
		"aud empty where the server has no name": {hs(body(`"aud":[]`)), "aud"},
		"sub a number":                           {hs(bare(expIn(time.Hour), `"sub":42`)), "sub must be a string"},
		"sub null":                               {hs(bare(expIn(time.Hour), `"sub":null`)), "sub must be a string"},
		"sub long":                               {hs(bare(expIn(time.Hour), `"sub":"`+strings.Repeat("s", 256)+`"`)), "at most 255"},
		"sub with a line break":                  {hs(bare(expIn(time.Hour), `"sub":"ann\nlevel=ERROR"`)), "invisible characters"},
		"sub with an escape sequence":            {hs(bare(expIn(time.Hour), `"sub":"\u001b[2J"`)), "invisible characters"},
		"sub with a turn of direction":           {hs(bare(expIn(time.Hour), `"sub":"a\u202egnp"`)), "invisible characters"},
		"sub with an invisible character":        {hs(bare(expIn(time.Hour), `"sub":"ann\u200b"`)), "invisible characters"},
		"sub with half a character":              {hs(bare(expIn(time.Hour), `"sub":"ann\ud800"`)), "invisible characters"},
		"sub twice":                              {hs(body(`"sub":"root"`)), "twice"},

		// Grants.
		"grants null":                    {hs(granting(`null`)), "outcrier must be a JSON object"},
		"grants a list":                  {hs(granting(`["**"]`)), "outcrier must be a JSON object"},
		"grants JSON in a string":        {hs(granting(`"{\"admin\":true}"`)), "outcrier must be a JSON object"},
		"grants twice":                   {hs(body(`"outcrier":{"admin":true}`)), "twice"},
		"subscribe null":                 {hs(granting(`{"subscribe":null}`)), "outcrier.subscribe must be a list"},
		"subscribe a string":             {hs(granting(`{"subscribe":"**"}`)), "outcrier.subscribe must be a list"},
		"subscribe an object":            {hs(granting(`{"subscribe":{"0":"**"}}`)), "outcrier.subscribe must be a list"},
		"subscribe a list of lists":      {hs(granting(`{"subscribe":[["**"]]}`)), "list of strings"},
		"subscribe a list with null":     {hs(granting(`{"subscribe":["a",null]}`)), "list of strings"},
		"subscribe a list with a number": {hs(granting(`{"subscribe":[42]}`)), "list of strings"},
		"subscribe twice":                {hs(granting(`{"subscribe":["a"],"subscribe":["**"]}`)), "twice"},
		"Subscribe":                      {hs(granting(`{"Subscribe":["**"]}`)), "Subscribe"},
		"publish true":                   {hs(granting(`{"publish":true}`)), "outcrier.publish must be a list"},
		"admin a string":                 {hs(granting(`{"admin":"true"}`)), "outcrier.admin must be true or false, or a list of metrics, read"},
		"admin a number":                 {hs(granting(`{"admin":1}`)), "outcrier.admin must be true or false, or a list of metrics, read"},
		"admin null":                     {hs(granting(`{"admin":null}`)), "outcrier.admin must be true or false, or a list of metrics, read"},
		"a restriction not known":        {hs(granting(`{"subscribe":["**"],"types":["audit.*"]}`)), `"types"`},
		"too many patterns":              {hs(granting(`{"subscribe":` + many(257) + `}`)), "257 patterns, at most 256"},
		"pattern empty":                  {hs(granting(`{"subscribe":[""]}`)), "subscribe[0]: topic is empty"},
		"pattern with ** in the middle":  {hs(granting(`{"subscribe":["a","user/**/a"]}`)), `subscribe[1]: topic "user/**/a"`},
		"pattern with part of a segment": {hs(granting(`{"publish":["user/4*"]}`)), `publish[0]: topic "user/4*"`},
		"pattern ***":                    {hs(granting(`{"subscribe":["***"]}`)), "whole segment"},
		"pattern with a slash before":    {hs(granting(`{"subscribe":["/user"]}`)), "empty segments"},
		"pattern with two slashes":       {hs(granting(`{"subscribe":["user//**"]}`)), "empty segments"},
		"pattern with a line break":      {hs(granting(`{"subscribe":["user/\n"]}`)), "control characters"},
		"pattern too long":               {hs(granting(`{"subscribe":["` + strings.Repeat("a", 256) + `"]}`)), "at most 255"},
	}
	v := newVerifier(t, nil)
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) { refused(t, v, attack.token, attack.says) })
	}
	if len(attacks) < 25 {
		t.Errorf("%d attacks", len(attacks))
	}

	// With only a public key there is no secret at all to be mistaken for.
	public := newVerifier(t, func(c *auth.Config) { c.Keys = keys()[1:2] })
	for _, name := range []string{"HS256 by the RSA PEM", "HS256 by the RSA DER", "HS256 by the RSA modulus", "none, some signature"} {
		t.Run(name+", no secret", func(t *testing.T) {
			refused(t, public, attacks[name].token, map[bool]string{true: algorithm, false: noKey}[strings.HasPrefix(name, "none")])
		})
	}

	parties := newVerifier(t, func(c *auth.Config) { c.Issuer, c.Audience = "https://issuer/", "outcrier" })
	iss, aud := `"iss":"https://issuer/"`, `"aud":"outcrier"`
	if _, err := parties.Verify(t.Context(), hs(body(iss, aud))); err != nil {
		t.Error(err)
	}
	for name, attack := range map[string]attack{
		"iss missing":             {hs(body(aud)), "iss"},
		"iss of another":          {hs(body(`"iss":"https://evil/"`, aud)), "iss"},
		"iss without its slash":   {hs(body(`"iss":"https://issuer"`, aud)), "iss"},
		"iss in another case":     {hs(body(`"iss":"HTTPS://issuer/"`, aud)), "iss"},
		"iss a list":              {hs(body(`"iss":["https://issuer/"]`, aud)), "iss must be a string"},
		"ISS":                     {hs(body(`"ISS":"https://issuer/"`, aud)), "iss"},
		"aud missing":             {hs(body(iss)), "aud"},
		"aud of another":          {hs(body(iss, `"aud":"another"`)), "aud"},
		"aud of others":           {hs(body(iss, `"aud":["a","b"]`)), "aud"},
		"aud empty":               {hs(body(iss, `"aud":""`)), "aud"},
		"aud an empty list":       {hs(body(iss, `"aud":[]`)), "aud"},
		"aud a longer name":       {hs(body(iss, `"aud":"outcrier2"`)), "aud"},
		"aud names in one string": {hs(body(iss, `"aud":"a outcrier"`)), "aud"},
		"aud a number":            {hs(body(iss, `"aud":1`)), "aud must be a list"},
		"aud null":                {hs(body(iss, `"aud":null`)), "aud must be a list"},
		"aud with a number":       {hs(body(iss, `"aud":["outcrier",1]`)), "list of strings"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, parties, attack.token, attack.says) })
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("%d requests to the address of a token", n)
	}
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

func refused(t *testing.T, v *auth.Verifier, token, says string) {
	t.Helper()
	p, err := v.Verify(t.Context(), token)
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%+v: %v", p, err)
	}
	if p.Admin || p.Grants != nil || p.Subscribe != nil || p.Publish != nil || p.Subject != "" {
		t.Errorf("a principal beside a refusal: %+v", p)
	}
	if !strings.Contains(refusal.Detail, says) {
		t.Errorf("says %q, want something about %q", refusal.Detail, says)
	}
	if refusal.Status != 401 || refusal.Code != "invalid_token" || !challenge.MatchString(refusal.Challenge()) {
		t.Errorf("status %d, %s", refusal.Status, refusal.Challenge())
	}
	if got, want := errors.Is(err, auth.ErrExpired), says == "expired"; got != want {
		t.Errorf("expired: %v", got)
	}
	leaksNothing(t, token, err.Error(), refusal.Challenge())
}

// leaksNothing fails when a text has a piece of the token or of the secret in it.
func leaksNothing(t *testing.T, token string, texts ...string) {
	t.Helper()
	const piece = 8
	for _, text := range texts {
		for _, hidden := range []string{strings.TrimPrefix(token, "Bearer "), string(secret), b64(secret)} {
			for i := 0; i+piece <= min(len(hidden), 20000); i++ {
				if strings.Contains(text, hidden[i:i+piece]) {
					t.Fatalf("%q has a piece of what must not be told", text)
				}
			}
		}
	}
}

func TestVerify_TakesEachAlgorithmAndItsClaims(t *testing.T) {
	v := newVerifier(t, nil)
	claims := bare(`"sub":"ann é"`, expIn(time.Hour), at("iat", 0), at("nbf", 20*time.Second), `"jti":"1"`, `"iss":"anyone"`,
		`"realm_access":{"roles":["a",{"b":[1,2.5,null,true]}]}`,
		`"outcrier":{"subscribe":["user/42/**","public/**"],"publish":["audit/**"],"admin":true}`)
	for name, token := range map[string]string{
		"HS256":            hs(claims),
		"HS256, kid":       forge(`{"alg":"HS256","kid":"any"}`, claims, jwt.SigningMethodHS256, secret),
		"RS256":            forge(`{"alg":"RS256","typ":"JWT","kid":"rsa"}`, claims, jwt.SigningMethodRS256, rsaKey()),
		"RS256, no kid":    forge(`{"alg":"RS256","typ":"at+jwt"}`, claims, jwt.SigningMethodRS256, rsaKey()),
		"ES256":            es(`{"alg":"ES256","kid":"ec","x5t":"abc","jku":"https://issuer/keys"}`, claims),
		"EdDSA":            forge(`{"alg":"EdDSA","kid":"ed","typ":"application/at+jwt"}`, claims, jwt.SigningMethodEdDSA, edKey),
		"expired a second": hs(strings.Replace(claims, expIn(time.Hour), expIn(-time.Second), 1)),
		"exp a fraction":   hs(strings.Replace(claims, expIn(time.Hour), expIn(time.Hour)+".25", 1)),
		"exp as 2e9":       hs(strings.Replace(claims, expIn(time.Hour), `"exp":2e9`, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := v.Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if p.Subject != "ann é" || fmt.Sprint(p.Subscribe, p.Publish, p.Admin) != "[user/42/** public/**] [audit/**] true" {
				t.Errorf("%+v", p)
			}
			if name == "HS256" && time.Until(p.Expires.Add(-time.Hour-30*time.Second)).Abs() > 10*time.Second {
				t.Errorf("expires %s", p.Expires)
			}
			if err := p.Ended(); err != nil {
				t.Error(err)
			}
		})
	}
}

// encoding/json would find the fields of a struct whatever their case.
func TestVerify_NamesAreExact(t *testing.T) {
	v := newVerifier(t, nil)
	for _, name := range []string{"Outcrier", "OUTCRIER", "оutcrier", "outcrier ", "outcrier\\u0000", "outcr\u0131er"} {
		p, err := v.Verify(t.Context(), hs(bare(expIn(time.Hour), `"`+name+`":{"subscribe":["**"],"publish":["**"],"admin":true}`)))
		if err != nil || p.Admin || len(p.Grants) > 0 || len(p.Subscribe) > 0 || len(p.Publish) > 0 {
			t.Errorf("%q grants %+v: %v", name, p, err)
		}
		if p.MaySubscribe("a") == nil || p.MayPublish("a") == nil || p.May(auth.Grants()...) == nil {
			t.Errorf("%q lets in", name)
		}
	}
}

// The examples of RFC 7515, appendix A.3, and of RFC 8037, appendix A.4, go through
// to their claims, which are not ours.
func TestVerify_TakesTheSignaturesOfTheRFCs(t *testing.T) {
	v := newVerifier(t, func(c *auth.Config) {
		c.Keys = nil
		c.JWKS = "https://issuer/keys"
		c.Transport = serving(func() string {
			return jwkSet(
				`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
				`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)
		})
	})
	for says, token := range map[string]string{
		"the token has expired": "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		"not JSON in UTF-8":     "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
	} {
		if _, err := v.Verify(t.Context(), token); err == nil || err.Error() != says {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

// A body is not looked at before its signature is: its faults are for who signed.
func TestVerify_SaysNothingOfABodyThatIsNotVerified(t *testing.T) {
	v := newVerifier(t, nil)
	for _, body := range []string{`[`, bare(`"sub":1`), granting(`{"subscribe":["**/a"]}`)} {
		token := forge(`{"alg":"HS256"}`, body, jwt.SigningMethodHS256, []byte("another secret"))
		if _, err := v.Verify(t.Context(), token); err == nil || err.Error() != "the token's signature is wrong" {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := newVerifier(f, nil)
	f.Add(`{"alg":"HS256"}`, body(), true)
	f.Add(`{"alg":"ES256","kid":"ec"}`, granting(`{"admin":true}`), false)
	f.Add(`{"alg":"none","crit":[]}`, `{"exp":1e308,"EXP":1,"aud":["a"]}`, true)
	f.Fuzz(func(t *testing.T, header, body string, signed bool) {
		// Signed bodies, so that chance reaches the claims; and texts that are no
		// token at all.
		tokens := []string{header + "." + body, b64([]byte(header)) + "." + b64([]byte(body)) + ".AA"}
		if signed {
			tokens = append(tokens, hs(body), forge(header, body, jwt.SigningMethodHS256, secret))
		}
		for i, token := range tokens {
			p, err := v.Verify(t.Context(), token)
			if err == nil && i < 2 {
				t.Fatalf("accepted without a signature: %+v", p)
			}
			if err != nil {
				continue
			}
			// An accepted token has its claims by their exact names.
			var said struct {
				Outcrier map[string]json.RawMessage
			}
			var exact map[string]json.RawMessage
			if json.Unmarshal([]byte(body), &exact) != nil || exact["exp"] == nil || json.Unmarshal([]byte(body), &said) != nil {
				t.Fatalf("accepted: %q", body)
			}
			if (p.Admin || len(p.Grants)+len(p.Subscribe)+len(p.Publish) > 0) && exact["outcrier"] == nil {
				t.Fatalf("grants of nothing: %q", body)
			}
			if !time.Now().Before(p.Expires) || strings.ContainsAny(p.Subject, "\r\n\x00") {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, nil)
	for name, token := range map[string]string{
		"HS256": hs(body()),
		"RS256": forge(`{"alg":"RS256","kid":"rsa"}`, body(), jwt.SigningMethodRS256, rsaKey()),
		"ES256": es(`{"alg":"ES256","kid":"ec"}`, body()),
		"EdDSA": forge(`{"alg":"EdDSA","kid":"ed"}`, body(), jwt.SigningMethodEdDSA, edKey),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
