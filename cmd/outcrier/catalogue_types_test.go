package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/catalogue"
)

// typed is a schema, the TypeScript that it becomes, and payloads that it accepts and
// refuses, as TypeScript.
var typed = []struct {
	name, schema, want string
	accepted, refused  string
}{
	{"none", ``, `unknown`, `7`, ``},
	{"true", `true`, `unknown`, `7`, ``},
	{"false", `false`, `never`, ``, `7`},
	{"scalars", `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{"type":["number","null"]},"d":{"type":"boolean"}},"required":["a"]}`,
		"{\n    a: string;\n    b?: number;\n    c?: number | null;\n    d?: boolean;\n  }", `{a: 'x', c: null}`, `{b: 7}`},
	{"names", `{"properties":{"a-b":{},"class":{},"ünï":{}, "\"":{"description":"ends */ here"}},"required":["z"]}`,
		"{\n    /** ends *\u200b/ here */\n    \"\\\"\"?: unknown;\n    \"a-b\"?: unknown;\n    class?: unknown;\n    z: unknown;\n    \"ünï\"?: unknown;\n  }", `{z: 1}`, `{}`},
	{"choices", `{"enum":["a","it's",7,null,true,{"b":[1]}]}`, `"a" | "it's" | 7 | null | true | { "b": [1]; }`, `"it's"`, `"b"`},
	{"constant", `{"const":"a"}`, `"a"`, `"a"`, `"b"`},
	{"lists", `{"type":"array","items":{"type":["string","number"]}}`, `Array<string | number>`, `['a', 7]`, `[true]`},
	{"tuple", `{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}],"items":false,"minItems":2}`, `[string, number]`, `['a', 7]`, `['a', 'b']`},
	{"map", `{"type":"object","additionalProperties":{"type":"number"}}`, `Record<string, number>`, `{a: 7}`, `{a: 'x'}`},
	{"any object", `{"type":"object"}`, `Record<string, unknown>`, `{a: 'x'}`, `7`},
	{"one of", `{"oneOf":[{"type":"string"},{"type":"null"}]}`, `string | null`, `null`, `7`},
	{"all of", `{"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"anyOf":[{"type":"object","properties":{"b":{"type":"number"}}},{"type":"string"}]}]}`,
		"{\n    a: string;\n  } & ({\n    b?: number;\n  } | string)", `{a: 'x', b: 7}`, `{a: 'x', b: 'y'}`},
	{"reference", `{"type":"object","properties":{"a":{"$ref":"#/$defs/x~1y"}},"$defs":{"x/y":{"type":"number"}}}`, "{\n    a?: number;\n  }", `{a: 7}`, `{a: 'x'}`},
	{"tree", `{"type":"object","properties":{"next":{"$ref":"#"}}}`, "{\n    next?: {\n      next?: unknown;\n    };\n  }", `{next: {next: {}}}`, `{next: 7}`},
	{"elsewhere", `{"$ref":"https://example.com/schema"}`, `unknown`, `7`, ``},
}

func TestCatalogue_TypesAreThoseOfTheSchemas(t *testing.T) {
	var types []catalogue.EventType
	for _, test := range typed {
		types = append(types, catalogue.EventType{Type: "test." + test.name, Title: "A test", Description: "Of " + test.name + ".", PayloadSchema: json.RawMessage(test.schema)})
	}
	var out bytes.Buffer
	if err := printTypeScript(&out, "Events", types); err != nil {
		t.Fatal(err)
	}
	for _, test := range typed {
		want := "  /** A test. Of " + test.name + ". */\n  \"test." + test.name + "\": " + test.want + ";\n"
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: want\n%s\nin\n%s", test.name, want, out.String())
		}
	}
	compiles(t, out.String())
}

// compiles has the compiler take the types, payloads that the schemas accept, and none that
// they refuse.
func compiles(t *testing.T, events string) {
	t.Helper()
	tsc, err := filepath.Abs("../../client/node_modules/.bin/tsc")
	if err == nil {
		_, err = os.Stat(tsc)
	}
	if err != nil {
		testkit.Missing(t, "the compiler of TypeScript is not there (make packages): %v", err)
	}
	var b strings.Builder
	b.WriteString("import type { Events } from './events';\nimport { connect } from './outcrier';\n" +
		"const stream = connect<Events>('/events', {topics: ['a'] as const, types: ['test.*'] as const, token: () => null});\n" +
		"stream.on('test.scalars', ({data}) => { const a: string = data.a; void a; });\n" +
		"stream.on('outcrier.gap', ({reason}) => { const a: string = reason; void a; });\n" +
		"stream.on('test.l*', ({type, data}) => { const a: 'test.lists' = type; const b: Array<string | number> = data; void a; void b; });\n" +
		"stream.on('*', (event) => { if (event.type === 'test.constant') { const a: 'a' = event.data; void a; } });\n" +
		"// @ts-expect-error: no such type\nstream.on('test.none such', () => {});\n" +
		"// @ts-expect-error: another payload\nstream.on('test.scalars', ({data}) => data.z);\n")
	for _, test := range typed {
		if test.accepted != "" {
			b.WriteString("({'test." + test.name + "': " + test.accepted + "}) satisfies Partial<Events>;\n")
		}
		if test.refused != "" {
			b.WriteString("// @ts-expect-error: refused\n({'test." + test.name + "': " + test.refused + "}) satisfies Partial<Events>;\n")
		}
	}
	dir := t.TempDir()
	module, err := os.ReadFile("../../client/outcrier.d.ts")
	for name, text := range map[string]string{"events.ts": events, "outcrier.d.ts": string(module), "use.ts": b.String()} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	compiler := exec.CommandContext(t.Context(), tsc, "--strict", "--noEmit", "--skipDefaultLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", "use.ts")
	compiler.Dir = dir
	if out, err := compiler.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, events)
	}
}
