// Package r3labs follows a stream by the library of that name.
package r3labs

import (
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	client := sse.NewClient(printed.URL(), sse.ClientMaxBufferSize(2<<20)) // it ends at an event over 64 kB else
	always := backoff.NewExponentialBackOff()
	always.InitialInterval, always.MaxInterval, always.MaxElapsedTime = printed.Pause, printed.Pause, 0 // it gives up after 15 minutes else
	client.ReconnectStrategy = always
	for { // it takes an orderly end for the end
		printed.Check(client.SubscribeRaw(func(e *sse.Event) {
			if len(e.Data) > 0 {
				printed.Event(string(e.ID), string(e.Event), string(e.Data))
			}
		}))
		time.Sleep(printed.Pause)
	}
}
