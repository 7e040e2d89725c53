// Package plug has the parts of package outbox that need other people's modules: a program
// that does not import them (outbox/jsonschema, outbox/opentelemetry) builds none of those.
// Its variables are set when the program starts, and nil in a program without the part.
package plug

import (
	"context"
	"errors"
)

// Schema is a compiled JSON Schema.
type Schema interface {
	// Validate returns why a payload does not match, "" if it does, and where in the payload
	// that is: a JSON Pointer.
	Validate(payload string) (path, reason string)
}

// Compile compiles a JSON Schema of the catalogue. The error says what does not compile,
// and where.
var Compile func(schema []byte) (Schema, error)

// ErrUnlinked is returned where a program without package jsonschema would have to check a
// payload: what can't be checked is not stored.
var ErrUnlinked = errors.New(`this program can't check JSON Schemas: import _ "github.com/outcrier/outcrier/outbox/jsonschema"`)

// Compiled returns a compiled JSON Schema of the catalogue. The error is ErrUnlinked in a
// program without the part.
func Compiled(schema []byte) (Schema, error) {
	if Compile == nil {
		return nil, ErrUnlinked
	}
	return Compile(schema)
}

// Begin begins a span for an append where ctx has one. It gets the headers of each draft, and
// returns those to add to drafts without a traceparent: none without a span. end must be
// called.
var Begin func(ctx context.Context, headers []map[string]string) (traced context.Context, added map[string]string, end func(error))
