package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth is deeper than the claims of any issuer that we know.
const maxDepth = 16

// parseObject parses a JSON object, and refuses one that parsers read differently: with a
// name twice on any level, which RFC 7519, section 4, leaves to us (encoding/json takes the
// last one, others the first); with invalid UTF-8, which encoding/json would replace; or
// with more text after the object. Names are case-sensitive in the map, as they would not
// be in a struct. Numbers are json.Number.
func parseObject(data []byte) (map[string]any, error) {
	// Also json.Valid, since a Decoder that yields tokens is lenient with commas.
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errors.New("not JSON in UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := parseValue(decoder, 1)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return object, nil
}

func parseValue(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, errors.New("not JSON")
	}
	open, nested := token.(json.Delim)
	switch {
	case !nested:
		return token, nil
	case depth > maxDepth:
		return nil, fmt.Errorf("JSON nested deeper than %d", maxDepth)
	case open == '[':
		list := []any{}
		for decoder.More() {
			element, err := parseValue(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		_, err = decoder.Token()
		return list, err
	}
	object := map[string]any{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errors.New("not JSON")
		}
		if _, twice := object[name]; twice {
			return nil, errors.New("a name is given twice in a JSON object")
		}
		if object[name], err = parseValue(decoder, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = decoder.Token()
	return object, err
}

// optional returns a member of an object, and the zero value if there is none; a null has
// the wrong type.
func optional[T any](object map[string]any, name string) (value T, given bool, err error) {
	member, given := object[name]
	if !given {
		return value, false, nil
	}
	value, ok := member.(T)
	if !ok {
		return value, true, fmt.Errorf("%s must be a %s", name, kind(value))
	}
	return value, true, nil
}

func kind(value any) string {
	switch value.(type) {
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "JSON object"
	}
	return "string"
}

// texts returns a member of an object that is a list of strings.
func texts(object map[string]any, name string) ([]string, error) {
	list, _, err := optional[[]any](object, name)
	if err != nil {
		return nil, err
	}
	strings := make([]string, 0, len(list))
	for _, element := range list {
		text, ok := element.(string)
		if !ok {
			return nil, fmt.Errorf("%s must be a list of strings", name)
		}
		strings = append(strings, text)
	}
	return strings, nil
}
