// Package jsonschema holds payloads to the JSON Schemas of the catalogue. A program that
// appends events of types with a schema imports it for that alone:
//
//	import _ "github.com/outcrier/outcrier/outbox/jsonschema"
//
// Without it outbox.Append refuses events of such types, and appends all others. It is a
// package of its own so that a program without schemas builds no module for them. A node has
// it.
//
// Schemas are of draft 2020-12 unless their $schema names another, with formats asserted and
// patterns in the syntax of Go's regexp. Nothing is loaded: a $ref can only point into the
// schema itself and the metaschemas.
package jsonschema

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/outcrier/outcrier/outbox/internal/plug"
)

func init() { plug.Compile = compile }

func compile(text []byte) (plug.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.UseLoader(nowhere{})
	if err := compiler.AddResource(schemaURL, document); err != nil {
		return nil, fmt.Errorf("the schema does not compile: %w", err)
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("the schema does not compile: %s", strings.ReplaceAll(err.Error(), schemaURL, ""))
	}
	return schema{compiled}, nil
}

// schemaURL is the base of what a schema refers to by a relative reference.
const schemaURL = "outbox:///schema.json"

// nowhere loads nothing: a schema in a table must not make servers and
// applications fetch addresses or read files.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not within the schema, and nothing is loaded from elsewhere", url)
}

type schema struct{ compiled *jsonschema.Schema }

func (s schema) Validate(text string) (path, reason string) {
	payload, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return "", "it is not JSON: " + err.Error()
	}
	var invalid *jsonschema.ValidationError
	if err := s.compiled.Validate(payload); errors.As(err, &invalid) {
		return deepest(invalid)
	} else if err != nil {
		return "", err.Error()
	}
	return "", ""
}

// deepest returns the first cause that has no further cause, as a JSON Pointer and a
// phrase.
func deepest(err *jsonschema.ValidationError) (path, reason string) {
	for len(err.Causes) > 0 {
		err = err.Causes[0]
	}
	for _, segment := range err.InstanceLocation {
		path += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(segment)
	}
	if _, always := err.ErrorKind.(*kind.FalseSchema); always {
		return path, "nothing is allowed there"
	}
	return path, err.ErrorKind.LocalizedString(message.NewPrinter(language.English))
}
