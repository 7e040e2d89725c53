// Package printed writes the events that a client receives, one line of JSON each.
package printed

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Pause is before a connection is made anew, where a library leaves it to its user: as long as the
// server of the scenes asks for, so that all are back at the same time.
const Pause = 300 * time.Millisecond

// URL is the stream to follow.
func URL() string { return os.Args[2] }

// Event writes an event. Data that is no JSON it passes over, as a handler does that
// looks at its errors.
func Event(id, kind, data string) {
	if !json.Valid([]byte(data)) {
		fmt.Fprintf(os.Stderr, "a handler is given %q\n", data)
		return
	}
	line, err := json.Marshal(map[string]string{"id": id, "type": kind, "data": data})
	if err == nil {
		_, err = os.Stdout.Write(append(line, '\n'))
	}
	Check(err)
}

// Check ends the program at an error.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
