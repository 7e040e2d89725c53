package handlers

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/labstack/echo/v4"
	"golang.org/x/net/http/httpguts"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/wire"
)

// A browser can't set a header on a WebSocket. So its token follows tokenProtocol in the
// name of a subprotocol, in addition to protocol, which the server selects.
const (
	protocol      = "outcrier"
	tokenProtocol = "bearer."
)

// upgrades reports whether a request asks for a WebSocket (RFC 6455, section 4.1). Over
// HTTP/2 no client does: browsers open a connection of HTTP/1.1 for it. An Upgrade that
// Connection does not name is of another hop (RFC 9110, section 7.8).
func upgrades(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && r.ProtoMajor == 1 &&
		httpguts.HeaderValuesContainsToken(r.Header.Values("Upgrade"), "websocket") &&
		httpguts.HeaderValuesContainsToken(r.Header.Values("Connection"), "upgrade")
}

// checkHandshake refuses an upgrade that is not well-formed.
func checkHandshake(c echo.Context) error {
	r := c.Request()
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		c.Response().Header().Set("Sec-WebSocket-Version", "13")
		c.Response().Header().Set(echo.HeaderUpgrade, "websocket")
		return fault(http.StatusUpgradeRequired, "allowed in Sec-WebSocket-Version is 13")
	case err != nil || len(key) != 16:
		return fault(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}

// withProtocolToken returns the request with the token among its subprotocols where all who
// authenticate look for one, in Authorization, unless there is one already.
func withProtocolToken(r *http.Request) *http.Request {
	for _, list := range r.Header.Values("Sec-WebSocket-Protocol") {
		for one := range strings.SplitSeq(list, ",") {
			token, is := strings.CutPrefix(strings.TrimSpace(one), tokenProtocol)
			if !is || r.Header.Get(echo.HeaderAuthorization) != "" {
				continue
			}
			r = r.Clone(r.Context())
			r.Header.Set(echo.HeaderAuthorization, "Bearer "+token)
			r.Header.Set("Sec-WebSocket-Protocol", protocol)
			return r
		}
	}
	return r
}

// upgrade takes the connection from net/http and makes it a WebSocket. It returns what the
// client has sent already. After an error nothing more can be answered.
func upgrade(c echo.Context) (conn net.Conn, sent []byte, err error) {
	response := c.Response()
	upgrader := ws.HTTPUpgrader{
		Timeout: handshakeTime, Protocol: ws.SelectEqual(protocol),
		Header: http.Header{"X-Content-Type-Options": {"nosniff"}},
	}
	response.Committed = true
	conn, rw, _, err := upgrader.Upgrade(c.Request(), response.Writer)
	if err != nil {
		if conn != nil {
			_ = conn.Close() // it was of no use
		}
		return nil, nil, err
	}
	sent, _ = rw.Peek(rw.Reader.Buffered()) // buffered bytes can always be read
	return conn, sent, nil
}

// handshakeTime is how long the answer to a handshake may take to be written.
const handshakeTime = 10 * time.Second

// socket is GET /events with an upgrade: the same stream, as the messages of a WebSocket.
func (h *handlers) socket(c echo.Context, who identity, request sse.Request) error {
	if !h.Streamer.Running() {
		return fault(http.StatusServiceUnavailable, "the server starts or stops")
	}
	if !h.enter(who) {
		h.refused(c, http.StatusTooManyRequests, errTooMany, errTooMany.Text)
		return turnAway(c, errTooMany, tooManyRetry)
	}
	conn, sent, err := upgrade(c)
	if err != nil {
		h.leave(who)
		h.Log.DebugContext(c.Request().Context(), "connection not upgraded", "err", err)
		return nil
	}
	// The request ends here, the stream does not.
	r := c.Request()
	changes := &changes{handlers: h, who: who, path: r.URL.Path, host: r.Host, remote: r.RemoteAddr, tls: r.TLS}
	request.Change = changes.apply
	h.serve(context.WithoutCancel(c.Request().Context()), sse.NewWebSocket(conn, sent), who, changes.while, request, &h.Traffic.WebSocket, func(error) {})
	return nil
}

// changes applies the changes that the client of a WebSocket asks for, with its rights.
type changes struct {
	*handlers
	// A later token is authenticated with these and not with the request, which is large.
	path, host, remote string
	tls                *tls.ConnectionState

	// ctx is the stream's, and end ends it.
	ctx context.Context //nolint:containedctx // the stream outlives the request
	end context.CancelCauseFunc

	mu  sync.Mutex
	who identity
	// forget ends the watch of the token.
	forget func()
}

// while is like identity.while, for an identity whose token can be replaced.
func (s *changes) while(ctx context.Context) (context.Context, func()) {
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.trust(s.who)
	return s.ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget()
		s.end(nil)
	}
}

// trust makes the stream end with this identity, and no longer with the one before.
func (s *changes) trust(who identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.forget; before != nil {
		defer before()
	}
	trusted, stop := who.while(context.WithoutCancel(s.ctx))
	forget := context.AfterFunc(trusted, func() { s.end(context.Cause(trusted)) })
	s.who, s.forget = who, func() { forget(); stop() }
}

// apply is the Change of an sse.Request: first the token, then the removed topics, then the
// added ones.
func (s *changes) apply(ctx context.Context, change sse.Change, topics []outbox.Pattern) (now []outbox.Pattern, refused []wire.Refused) {
	refuse := func(err error, topic string) {
		refusal := refusedBy(err)
		refusal.Topic = shortTopic(topic)
		s.countRefusal(ctx, refusal.Status, err, refusal.Detail, "/events", s.who)
		refused = append(refused, refusal)
	}
	now = slices.Clone(topics)
	if change.Token != nil {
		if err := s.renew(ctx, *change.Token); err != nil {
			refuse(err, "")
		}
		now = slices.DeleteFunc(now, func(topic outbox.Pattern) bool {
			err := s.who.maySubscribe([]outbox.Pattern{topic})
			if err != nil {
				refuse(err, string(topic))
			}
			return err != nil
		})
	}
	now = slices.DeleteFunc(now, func(topic outbox.Pattern) bool { return slices.Contains(change.Drop, string(topic)) })
	for _, text := range change.Add {
		topic, err := outbox.ParsePattern(text)
		switch {
		case err != nil:
			err = fault(http.StatusBadRequest, err.Error())
		case slices.Contains(now, topic):
			continue
		case len(now) >= s.Access.Limits.Topics:
			err = fault(http.StatusBadRequest, fmt.Sprintf("at most %d topics are allowed", s.Access.Limits.Topics))
		default:
			err = s.who.maySubscribe([]outbox.Pattern{topic})
		}
		if err != nil {
			refuse(err, text)
			continue
		}
		now = append(now, topic)
	}
	return now, refused
}

// renewTime is how long it may take to authenticate a new token.
const renewTime = 5 * time.Second

// renew trusts a new token of the same subject.
func (s *changes) renew(ctx context.Context, token string) error {
	if s.who.open {
		return nil // no token is needed
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: s.path}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: s.host, RemoteAddr: s.remote, TLS: s.tls, Header: http.Header{echo.HeaderAuthorization: {"Bearer " + token}},
	}
	identity, err := s.Access.Authenticate(r.WithContext(ctx))
	if err == nil {
		err = identity.Ended()
	}
	if err == nil {
		err = s.Access.Revocations.Check(ctx, identity)
	}
	refusal := (*auth.Refusal)(nil)
	if err == nil || errors.As(err, &refusal) {
		s.unanswered.answered(ctx, renewalFailed)
	}
	switch {
	case err != nil && refusal == nil:
		s.unanswered.fails(ctx, renewalFailed, err)
		return errNotAuthenticated
	case err != nil:
		return err
	case identity.Subject != s.who.Subject:
		return fault(http.StatusForbidden, "the token is of another subject: open a stream of its own for it")
	}
	who := s.who
	who.Identity = identity // the limits go on counting it as before
	s.trust(who)
	return nil
}

// refusedBy returns the message to the client about an error.
func refusedBy(err error) wire.Refused {
	status, detail, _ := statusOf(err)
	return wire.Refused{Status: status, Title: http.StatusText(status), Detail: detail}
}

// shortTopic bounds the part of a client's message that is repeated to it.
func shortTopic(topic string) string {
	const most = 255 // of a topic
	return strings.ToValidUTF8(topic[:min(len(topic), most)], "")
}
