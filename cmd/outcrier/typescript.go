package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/outcrier/outcrier/outbox/catalogue"
)

// printTypeScript prints an interface with the payload of each type of event, for the
// module's connect.
func printTypeScript(w io.Writer, name string, types []catalogue.EventType) error {
	var b strings.Builder
	fmt.Fprintf(&b, "// Written by \"outcrier catalogue types\". Use it as connect<%s>(…).\n\nexport interface %[1]s {\n", name)
	for _, t := range types {
		if about := comment(sentences(t.Title, t.Description)); about != "" {
			fmt.Fprintf(&b, "  /** %s */\n", about)
		}
		payload := "unknown"
		if len(t.PayloadSchema) > 0 {
			var root any
			if err := json.Unmarshal(t.PayloadSchema, &root); err != nil {
				return fmt.Errorf("read the schema of type %q: %w", t.Type, err)
			}
			payload = typeScript{root: root}.of(root, "  ")
		}
		fmt.Fprintf(&b, "  %s: %s;\n", literal(t.Type), payload)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// sentences joins a title and a description, with a full stop between them if the title ends
// without a mark of its own.
func sentences(title, description string) string {
	title, description = strings.TrimSpace(title), strings.TrimSpace(description)
	if title != "" && description != "" && !strings.ContainsAny(title[len(title)-1:], ".!?:") {
		title += "."
	}
	return title + "\n" + description
}

// comment returns the text in one line that can't end a comment.
func comment(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "*/", "*\u200b/")
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// literal writes a string as both JSON and TypeScript have it.
func literal(value any) string {
	text, _ := json.Marshal(value) // it was JSON
	return string(text)
}

// typeScript writes types of a JSON Schema as TypeScript. What TypeScript can't say, like
// the length of a string, it leaves out; so each payload that the schema accepts has the
// type.
type typeScript struct {
	root any
	// refs are the references that lead here: one that leads back to itself is unknown.
	refs []string
}

const anything = "unknown"

// of returns the type of a schema; indent stands before the line that it begins on.
func (t typeScript) of(schema any, indent string) string {
	s, isObject := schema.(map[string]any)
	if !isObject {
		if schema == false {
			return "never"
		}
		return anything
	}
	var all []string // it is each of these
	also := func(one string) {
		if one != anything && !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	if ref, is := s["$ref"].(string); is {
		also(t.referred(ref, indent))
	}
	if values, is := s["enum"].([]any); is {
		also(union(values, t.literal))
	} else if value, has := s["const"]; has {
		also(t.literal(value))
	} else {
		also(t.kind(s, indent))
	}
	for _, name := range []string{"anyOf", "oneOf"} {
		if choices, is := s[name].([]any); is {
			also(union(choices, func(choice any) string { return t.of(choice, indent) }))
		}
	}
	if parts, is := s["allOf"].([]any); is {
		for _, part := range parts {
			also(t.of(part, indent))
		}
	}
	switch len(all) {
	case 0:
		return anything
	case 1:
		return all[0]
	}
	for i, one := range all {
		if strings.Contains(one, " | ") {
			all[i] = "(" + one + ")"
		}
	}
	return strings.Join(all, " & ")
}

// union returns the type of one of several.
func union(choices []any, of func(any) string) string {
	var list []string
	for _, choice := range choices {
		one := of(choice)
		if one == anything {
			return anything
		}
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	if len(list) == 0 {
		return "never"
	}
	return strings.Join(list, " | ")
}

// referred returns the type that a reference within the schema leads to.
func (t typeScript) referred(ref, indent string) string {
	path, local := strings.CutPrefix(ref, "#")
	if !local || slices.Contains(t.refs, ref) {
		return anything
	}
	found := t.root
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path == "" {
			break
		}
		members, _ := found.(map[string]any)
		next, has := members[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
		if !has {
			return anything
		}
		found = next
	}
	return typeScript{t.root, append(slices.Clone(t.refs), ref)}.of(found, indent)
}

// kind returns the type that "type" and what goes with it say.
func (t typeScript) kind(s map[string]any, indent string) string {
	kinds, several := s["type"].([]any)
	switch {
	case several:
	case s["type"] != nil:
		kinds = []any{s["type"]}
	case s["properties"] != nil:
		kinds = []any{"object"} // as its author means, most likely
	default:
		return anything
	}
	return union(kinds, func(kind any) string {
		switch kind {
		case "string", "boolean", "null":
			return kind.(string) //nolint:forcetypeassert // by the cases
		case "number", "integer":
			return "number"
		case "array":
			return t.array(s, indent)
		case "object":
			return t.object(s, indent)
		}
		return anything
	})
}

func (t typeScript) array(s map[string]any, indent string) string {
	first, is := s["prefixItems"].([]any)
	if !is || s["items"] != false || s["minItems"] != float64(len(first)) {
		if is || s["items"] == nil {
			return "unknown[]"
		}
		return "Array<" + t.of(s["items"], indent) + ">"
	}
	tuple := make([]string, len(first))
	for i, item := range first {
		tuple[i] = t.of(item, indent)
	}
	return "[" + strings.Join(tuple, ", ") + "]"
}

func (t typeScript) object(s map[string]any, indent string) string {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	names := slices.Collect(maps.Keys(properties))
	for _, name := range required {
		if text, is := name.(string); is && properties[text] == nil {
			names = append(names, text)
		}
	}
	if len(names) == 0 {
		of := anything
		if more, is := s["additionalProperties"].(map[string]any); is && s["patternProperties"] == nil {
			of = t.of(more, indent)
		}
		return "Record<string, " + of + ">"
	}
	slices.Sort(names)
	within := indent + "  "
	var b strings.Builder
	b.WriteString("{\n")
	for _, name := range slices.Compact(names) {
		property := properties[name]
		if about, is := property.(map[string]any); is {
			if text, is := about["description"].(string); is && text != "" {
				fmt.Fprintf(&b, "%s/** %s */\n", within, comment(text))
			}
		}
		key, optional := name, "?"
		if !identifier.MatchString(name) {
			key = literal(name)
		}
		if slices.Contains(required, any(name)) {
			optional = ""
		}
		fmt.Fprintf(&b, "%s%s%s: %s;\n", within, key, optional, t.of(property, within))
	}
	return b.String() + indent + "}"
}

// literal returns the type that only this value has.
func (t typeScript) literal(value any) string {
	switch value := value.(type) {
	case []any:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = t.literal(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		var b strings.Builder
		b.WriteString("{ ")
		for _, name := range slices.Sorted(maps.Keys(value)) {
			fmt.Fprintf(&b, "%s: %s; ", literal(name), t.literal(value[name]))
		}
		return b.String() + "}"
	}
	return literal(value)
}
