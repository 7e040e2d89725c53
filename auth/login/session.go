package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/outcrier/outcrier/auth"
)

// session is the content of the cookie of a person who is signed in.
type session struct {
	ID      string    `json:"id"`
	Subject string    `json:"sub"`
	Groups  []string  `json:"groups"`
	Issued  time.Time `json:"issued"`
	Until   time.Time `json:"until"`
}

// The names of the cookies. Over TLS they have the prefix by which browsers take them from
// this very host alone, and not from a sister domain.
const (
	sessionCookie = "outcrier_admin"
	attemptCookie = "outcrier_admin_login"
	hostPrefix    = "__Host-"
)

func (l *Login) name(cookie string) string {
	if l.secure {
		return hostPrefix + cookie
	}
	return cookie
}

// sealer is made of the client's secret, which only the nodes have: so a session is valid
// at all of them. It is bound to the kind of cookie.
func (l *Login) sealer(cookie, secret string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, strings.Join([]string{"outcrier admin", cookie, l.Issuer, l.ClientID}, "\x00"), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal returns a cookie that only the nodes can read, make or change.
func (l *Login) seal(cookie, secret string, value any, life time.Duration) (*http.Cookie, error) {
	sealer, err := l.sealer(cookie, secret)
	if err != nil {
		return nil, fmt.Errorf("seal a cookie: %w", err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("seal a cookie: %w", err)
	}
	sealed := l.cookie(cookie, base64.RawURLEncoding.EncodeToString(sealer.Seal(nil, nil, text, nil)), int(life.Seconds())) //nolint:gosec // the nonce is drawn within
	return sealed, nil
}

// open reads a cookie of a request, and reports whether seal made it. If there are several of
// the name, none is accepted.
func (l *Login) open(r *http.Request, cookie, secret string, into any) bool {
	cookies := r.CookiesNamed(l.name(cookie))
	if len(cookies) != 1 {
		return false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	if err != nil {
		return false
	}
	sealer, err := l.sealer(cookie, secret)
	if err != nil {
		return false
	}
	text, err := sealer.Open(nil, nil, sealed, nil)
	return err == nil && json.Unmarshal(text, into) == nil
}

// cookie is kept from scripts, and from every request that a page of another site causes.
func (l *Login) cookie(name, value string, seconds int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever people are sent back to by https
		Name: l.name(name), Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: l.secure,
	}
}

func (l *Login) gone(name string) *http.Cookie { return l.cookie(name, "", -1) }

// SignOut returns the cookie that removes the session. To learn whose it is, call Authenticate
// before.
func (l *Login) SignOut() *http.Cookie { return l.gone(sessionCookie) }

// Carried reports whether a request carries a session, good or not.
func (l *Login) Carried(r *http.Request) bool { return len(r.CookiesNamed(l.name(sessionCookie))) > 0 }

// Authenticate returns the identity of a request's session, or a *auth.Refusal.
func (l *Login) Authenticate(r *http.Request) (auth.Identity, error) {
	secret, err := l.ClientSecret()
	if err != nil {
		return auth.Identity{}, err
	}
	var s session
	if !l.open(r, sessionCookie, secret, &s) || !time.Now().Before(s.Until) || time.Until(s.Until) > l.Life {
		return auth.Identity{}, &auth.Refusal{Status: http.StatusUnauthorized, Detail: "the session has ended: sign in again"}
	}
	identity := auth.Identity{Subject: s.Subject, TokenID: "session " + s.ID, Issued: s.Issued, Expires: s.Until}
	for _, group := range s.Groups {
		for _, grant := range l.Grants[group] {
			if !slices.Contains(identity.Grants, grant) {
				identity.Grants = append(identity.Grants, grant)
			}
		}
	}
	return identity, nil
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

// cut keeps a log line short, and one line.
func cut(text string) string {
	if len(text) > 100 {
		text = text[:100]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, text)
}
