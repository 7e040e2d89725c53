// Package tmaxmax follows a stream by the library of that name.
package tmaxmax

import (
	"net/http"

	"github.com/tmaxmax/go-sse"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	request, err := http.NewRequest(http.MethodGet, printed.URL(), nil)
	printed.Check(err)
	connection := sse.NewConnection(request)
	connection.Buffer(nil, 2<<20) // it ends at an event over 64 kB else
	connection.SubscribeToAll(func(e sse.Event) {
		printed.Event(e.LastEventID, e.Type, e.Data)
	})
	printed.Check(connection.Connect())
}
