package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// SchemaError reports that a payload does not match the catalogue's schema of its type.
// Nothing was sent to Postgres: the transaction can go on.
type SchemaError struct {
	Type string
	// Draft is the index of the draft in the append; -1 when the schema itself is not
	// valid, which CreateEventType and ChangeEventType refuse.
	Draft int
	// Path is where in the payload the fault is, a JSON Pointer (RFC 6901): "" is
	// the payload itself.
	Path string
	// Reason is a description of the fault.
	Reason string
}

func (e *SchemaError) Error() string {
	if e.Draft < 0 {
		return e.Reason
	}
	where := "the payload"
	if e.Path != "" {
		where = "the payload at " + e.Path
	}
	return fmt.Sprintf("%s does not match the schema of type %q: %s", where, e.Type, e.Reason)
}

// CompileSchema compiles a JSON Schema of the catalogue: of draft 2020-12 unless its
// $schema names another, with formats asserted and patterns in the syntax of Go's regexp.
// Nothing is loaded: a $ref can only point into the schema itself and the metaschemas. The
// error says what does not compile, and where.
func CompileSchema(schema []byte) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
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
	return compiled, nil
}

// schemaURL is the base of what a schema refers to by a relative reference.
const schemaURL = "outbox:///schema.json"

// nowhere loads nothing: a schema in a table must not make servers and
// applications fetch addresses or read files.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not within the schema, and nothing is loaded from elsewhere", url)
}

// schemas are those of one version of the catalogue, compiled.
type schemas struct {
	version int64
	byType  map[string]*jsonschema.Schema
	// broken are those that don't compile. They were stored by SQL, not by an Admin.
	broken map[string]error
}

// check returns an error for the first draft that does not match its schema.
func (s *schemas) check(drafts []Draft, payloads []string) error {
	for i, d := range drafts {
		if err := s.broken[d.Type]; err != nil {
			return &SchemaError{d.Type, i, "", "no payload can: " + err.Error()}
		}
		schema := s.byType[d.Type]
		if schema == nil {
			continue
		}
		payload, err := jsonschema.UnmarshalJSON(strings.NewReader(payloads[i]))
		if err != nil {
			return &SchemaError{d.Type, i, "", "it is not JSON: " + err.Error()}
		}
		var invalid *jsonschema.ValidationError
		if err := schema.Validate(payload); errors.As(err, &invalid) {
			path, reason := deepest(invalid)
			return &SchemaError{d.Type, i, path, reason}
		} else if err != nil {
			return &SchemaError{d.Type, i, "", err.Error()}
		}
	}
	return nil
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

// compiled are the last few versions of the catalogues of all databases that this process
// appends to; the newest first. A version is a random number, so it identifies the database
// too.
var compiled struct {
	sync.Mutex
	versions []*schemas
}

// maxVersions bounds the versions that are kept: an application usually appends to one
// outbox.
const maxVersions = 8

// noSchemas is the version of every catalogue without any.
var noSchemas = &schemas{}

func knownSchemas() []*schemas {
	compiled.Lock()
	defer compiled.Unlock()
	return append([]*schemas{noSchemas}, compiled.versions...)
}

// learn compiles the rows of schemasSQL, and keeps the result. A catalogue that has schemas
// and has lost its version has version -1, and is not kept, since another database may have
// the same.
func learn(rows []schemaRow) *schemas {
	if len(rows) == 0 || rows[0].version == nil || *rows[0].version == 0 {
		return noSchemas
	}
	learnt := &schemas{version: *rows[0].version, byType: map[string]*jsonschema.Schema{}, broken: map[string]error{}}
	for _, r := range rows {
		if r.kind == nil {
			continue
		}
		schema, err := CompileSchema(r.schema)
		if err != nil {
			learnt.broken[*r.kind] = err
			continue
		}
		learnt.byType[*r.kind] = schema
	}
	if learnt.version < 0 {
		return learnt
	}
	compiled.Lock()
	defer compiled.Unlock()
	others := slices.DeleteFunc(compiled.versions, func(s *schemas) bool { return s.version == learnt.version })
	compiled.versions = append([]*schemas{learnt}, others[:min(len(others), maxVersions-1)]...)
	return learnt
}
