package outbox

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/outcrier/outcrier/outbox/internal/plug"
)

// SchemaError reports that a payload does not match the catalogue's schema of its type.
// Nothing was sent to Postgres: the transaction can go on.
type SchemaError struct {
	Type string
	// Draft is the index of the draft in the append; -1 when the schema itself is not
	// valid, which package catalogue refuses.
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

// schemas are those of one version of the catalogue, compiled.
type schemas struct {
	version int64
	byType  map[string]plug.Schema
	// broken are those that don't compile. They were stored by SQL, not by an Admin.
	broken map[string]error
}

// check returns an error for the first draft that does not match its schema.
func (s *schemas) check(drafts []Draft, payloads []string) error {
	for i, d := range drafts {
		if err := s.broken[d.Type]; errors.Is(err, plug.ErrUnlinked) {
			return fmt.Errorf("type %q has a schema: %w", d.Type, err)
		} else if err != nil {
			return &SchemaError{d.Type, i, "", "no payload can: " + err.Error()}
		}
		if schema := s.byType[d.Type]; schema != nil {
			if path, reason := schema.Validate(payloads[i]); reason != "" {
				return &SchemaError{d.Type, i, path, reason}
			}
		}
	}
	return nil
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
	learnt := &schemas{version: *rows[0].version, byType: map[string]plug.Schema{}, broken: map[string]error{}}
	for _, r := range rows {
		if r.kind == nil {
			continue
		}
		schema, err := plug.Compiled(r.schema)
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
