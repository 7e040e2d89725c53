// Package donovanhide follows a stream by the library of that name.
package donovanhide

import (
	"fmt"
	"os"

	"github.com/donovanhide/eventsource"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	stream, err := eventsource.Subscribe(printed.URL(), "")
	printed.Check(err)
	for {
		select {
		case e := <-stream.Events:
			printed.Event(e.Id(), e.Event(), e.Data())
		case err := <-stream.Errors: // it waits until this is read
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
