package handlers_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// Whatever is asked, well or badly, the log has no token and no payload, and no
// line that the server did not begin.
func TestAccess_LogHasNoSecretsAndNoForgedLines(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
		},
		"json": func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			n := newNode(t, func(n *node) {
				n.log = slog.New(handler(&log))
				n.access = closedAccess()
				queried(&n.access)
				n.access.Limits.StreamsPerPrincipal = 1
			})
			const forged = `level=ERROR msg="forged"` + "\n" + `{"level":"ERROR","msg":"forged"}`
			subject := `ann" level=ERROR msg="forged`
			token := mint(subject, time.Hour, "a/**")
			c := ssetest.Open(t, n.events("topic=a"), bearer(token)...)
			c.Until("outcrier.live")
			ssetest.Open(t, n.events("topic=a"), bearer(token)...).End() // one too many
			c.Close()
			eventually(t, func() bool { return n.streamer.Open() == 0 })
			short := mint(subject, 3*time.Second, "a/**")
			ssetest.Open(t, n.events("topic=a&token="+short), "User-Agent", "x\tforged").End() // with its token
			n.post(t, `{"topic":"a","type":"t","payload":"hunter2"}`, bearer(token)...).ids(t)
			n.post(t, `{"topic":"a","type":"t","payload":"hunter2`, bearer(token)...)
			n.post(t, `{"topic":"a\n`+"forged"+`","type":"t","payload":"hunter2"}`, bearer(token)...)
			n.post(t, `{"topic":"b\n`+"forged"+`","type":"t","payload":"hunter2"}`, bearer(token)...)
			for _, bad := range []string{
				"topic=b&token=" + token, "topic=" + q("b/\u2028"+"forged") + "&token=" + token, "topic=" + q(forged) + "&token=" + token,
				"topic=a&token=" + token[:len(token)-4], "topic=a&token=" + token + "x", "topic=a&token=" + token + "&x=%zz", "topic=a&Token=" + token,
				"topic=a&token=" + short, "topic=a&token=hunter2", "topic=a&token=" + token + "&token=" + short, q(forged) + "=1&token=" + token,
			} {
				for _, accept := range []string{stream, jsonAll} {
					do(t, "GET", n.events(bad), "", "Accept", accept, "User-Agent", "forged", "Referer", n.events(bad))
				}
			}
			do(t, "GET", n.events("topic=a"), "", "Cookie", "outcrier_token="+token+"; outcrier_token="+short)
			do(t, "GET", n.url+"/"+q(forged)+"?token="+token, "")
			do(t, "POST", n.url+"/session", "", bearer(token)...)
			do(t, "POST", n.url+"/session", "", bearer(short)...)
			_, _ = n.send(t, "GET /events?token="+token+" HTTP/1.1\r\nHost: x\r\nX: "+token+"\r\nBad Header: "+token+"\r\n\r\n")
			text := log.String()
			if !strings.Contains(text, "request refused") || !strings.Contains(text, "stream ended") {
				t.Errorf("it was not logged:\n%s", text)
			}
			for _, secret := range []string{token[:40], token[len(token)-20:], short[len(short)-20:], "hunter2"} {
				if strings.Contains(text, secret) {
					t.Errorf("the log has %s", secret)
				}
			}
			for line := range strings.Lines(text) {
				if name == "json" {
					var entry struct{ Level, Msg string }
					if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "ERROR" {
						t.Errorf("a line is forged: %s", line)
					}
				} else if !strings.HasPrefix(line, "time=") || strings.Contains(quoted.ReplaceAllString(line, ""), "ERROR") {
					t.Errorf("a line is forged: %s", line)
				}
			}
		})
	}
}

// Who is refused again and again fills no disk.
func TestAccess_RefusalsAreLoggedAtABoundedRate(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	n := newNode(t, func(n *node) {
		n.log = slog.New(slog.NewTextHandler(&log, nil))
		n.access = closedAccess()
	})
	for range 200 {
		do(t, "GET", n.events("topic=a"), "").wantProblem(t, 401)
	}
	if got := strings.Count(log.String(), "request refused"); got < 20 || got > 40 {
		t.Errorf("%d lines", got)
	}
	if got := n.access.Refusals.NoToken.Load(); got != 200 {
		t.Errorf("%d counted", got)
	}
}

// That tokens can't be verified, with the keys or the revocations missing, is one line of the
// log when it begins and one when it is over, however many requests are refused meanwhile.
func TestAccess_MissingKeysAreLoggedWhenItBeginsAndEnds(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	issuer := newIssuer(t)
	token := must(auth.Mint(signerOf(issuer.publish("1"), "1"), auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"a"}}, time.Hour))
	verifier := must(auth.New(auth.Config{JWKS: issuer.URL, Refresh: 10 * time.Second}))
	n := newNode(t, func(n *node) {
		n.log = slog.New(slog.NewTextHandler(&log, nil))
		n.access = handlers.Access{Refusals: new(handlers.Refusals)}
		byTokens(&n.access, verifier)
	})
	issuer.down.Store(true)
	const asked = 40
	for range asked {
		do(t, "GET", n.events("topic=a"), "", append(bearer(token), "Accept", jsonAll)...).wantProblem(t, 503, "keys")
	}
	issuer.down.Store(false)
	eventually(t, func() bool {
		return do(t, "GET", n.events("topic=a&wait=0"), "", append(bearer(token), "Accept", jsonAll)...).status == 200
	})
	text := log.String()
	if strings.Count(text, `msg="token not verified" err="the keys to verify tokens are not available"`) != 1 || strings.Contains(text, "request refused") {
		t.Errorf("of %d refusals the log has:\n%s", asked, text)
	}
	if strings.Count(text, `msg="requests are answered again" before="token not verified"`) != 1 {
		t.Errorf("of the end the log has:\n%s", text)
	}
	if got := n.access.Refusals.Unavailable.Load(); got < asked {
		t.Errorf("%d counted", got)
	}
}
