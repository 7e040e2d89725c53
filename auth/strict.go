package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth is deeper than the claims of any issuer known to us.
const maxDepth = 16

// parseObject reads a JSON object as the one that signed it must have meant it, or
// not at all: no name twice on any level, which RFC 7519, section 4, leaves to us
// and of which encoding/json takes the last, others the first; valid UTF-8, which
// encoding/json would mend; nothing behind it. Names keep their letters: the map
// is not searched regardless of case as a struct would be. Numbers are
// json.Number.
func parseObject(data []byte) (map[string]any, error) {
	// Valid, since a Decoder that yields tokens is lenient with commas.
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

// optional is the member of an object, its zero value if there is none; a null is
// no value of any kind.
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

// texts is the member of an object that is a list of strings.
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
