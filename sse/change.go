package sse

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Change is what a client asks for on a WebSocket.
type Change struct {
	// Add and Drop are topics, well-formed or not.
	Add, Drop []string
	// Token is a new token, nil for none.
	Token *string
}

// parseChange reads a message, and refuses members that a Change does not have.
func parseChange(message []byte) (c Change, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(message, &members); err != nil || members == nil {
		return c, errors.New(`a message must be a JSON object, like {"add":["user/42"]}`)
	}
	if len(members) == 0 {
		return c, errors.New("the message asks for nothing; allowed are add, drop and token")
	}
	for name, value := range members {
		var into any
		want := "an array of topics, like [\"user/42\"]"
		switch name {
		case "add":
			into = &c.Add
		case "drop":
			into = &c.Drop
		case "token":
			c.Token = new(string)
			into, want = c.Token, "a string"
		default:
			return c, fmt.Errorf("unknown member %.100q; allowed are add, drop and token", name)
		}
		if string(value) == "null" || json.Unmarshal(value, into) != nil {
			return c, errors.New(name + " must be " + want)
		}
	}
	return c, nil
}
