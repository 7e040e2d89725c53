package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// endpoint is the server as its streams see it.
type endpoint struct {
	base   *url.URL
	token  string // "" for none
	format string // of the events: cloudevents or payload
	// webSocket has events read as the messages of a WebSocket.
	webSocket bool
	// centrifugo is a server of Centrifugo, by its unidirectional SSE.
	centrifugo bool
}

func newEndpoint(base, token, format string) (*endpoint, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("the server's address: %w", err)
	}
	return &endpoint{base: u, token: token, format: format}, nil
}

// One address has some 28,000 ports to connect from, and those of connections
// that were just closed are not free at once.
const streamsPerAddress = 5000

// connectLimit is how long a connection may take. A kernel whose queue of
// connections to accept is full lets them wait for one, three, seven seconds.
const connectLimit = 30 * time.Second

// connect opens the connection of the n-th stream.
func (e *endpoint) connect(ctx context.Context, n int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectLimit}
	host, port := e.base.Hostname(), e.base.Port()
	if ip := net.ParseIP(host); ip.IsLoopback() && ip.To4() != nil {
		connectFrom(&dialer, net.IPv4(127, 0, 0, byte(1+n/streamsPerAddress%250)))
	}
	if port == "" {
		port = e.base.Scheme // net knows both by name
	}
	address := net.JoinHostPort(host, port)
	if e.base.Scheme == "https" {
		return (&tls.Dialer{NetDialer: &dialer}).DialContext(ctx, "tcp", address)
	}
	return dialer.DialContext(ctx, "tcp", address)
}

// request is what a stream asks for.
func (e *endpoint) request(topic, lastEventID string) []byte {
	path, query := "/events", url.Values{"topic": {topic}, "format": {e.format}}
	if e.centrifugo {
		path, query = "/connection/uni_sse", url.Values{"cf_connect": {`{"subs":{"` + topic + `":{}}}`}}
	}
	accept := "Accept: text/event-stream\r\n"
	if e.webSocket {
		// All with the same key: the answer is not checked.
		accept = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: b3V0Y3JpZXItYmVuY2gtLQ==\r\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s%s?%s HTTP/1.1\r\nHost: %s\r\n%s",
		strings.TrimSuffix(e.base.EscapedPath(), "/"), path, query.Encode(), e.base.Host, accept)
	if e.token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", e.token)
	}
	if lastEventID != "" {
		fmt.Fprintf(&b, "Last-Event-ID: %s\r\n", lastEventID)
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}
