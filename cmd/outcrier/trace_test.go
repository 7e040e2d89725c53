package main

import (
	"strings"
	"testing"
)

func TestTrace_RefusesAnotherProtocol(t *testing.T) {
	environ := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}
	got := runWith(t, environ, "serve", "--dev", "--database-url", dsn, "--listen", "127.0.0.1:0")
	if got.code != exitFailed || !strings.Contains(got.stderr, "allowed is http/protobuf") {
		t.Errorf("%+v", got)
	}
}
