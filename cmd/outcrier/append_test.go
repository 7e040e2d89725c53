package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAppendConfig_PayloadComesFromStandardInput(t *testing.T) {
	for _, tt := range []struct {
		name    string
		setting string
		stdin   io.Reader
		want    string
		err     string
	}{
		{"setting", `{"a": 1}`, strings.NewReader("ignored"), `{"a": 1}`, ""},
		{"input, byte for byte", "-", strings.NewReader("{\"a\":  1}\n"), "{\"a\":  1}\n", ""},
		{"empty input", "-", strings.NewReader(""), "", "standard input is empty"},
		{"not JSON", "-", strings.NewReader("hello"), "", "standard input is not JSON"},
		{"broken input", "-", iotest.ErrReader(errors.New("gone")), "", "read payload from standard input: gone"},
		{"endless input", "-", endless{}, "", "longer than 67108864 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := appendConfig{Payload: tt.setting}.payload(tt.stdin)
			if string(got) != tt.want {
				t.Errorf("payload %q, want %q", got, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
