// Package launchdarkly follows a stream by the library of that name.
package launchdarkly

import (
	"github.com/launchdarkly/eventsource"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	stream, err := eventsource.SubscribeWithURL(printed.URL(),
		// Without a handler it waits until Errors is read.
		eventsource.StreamOptionErrorHandler(func(error) eventsource.StreamErrorHandlerResult {
			return eventsource.StreamErrorHandlerResult{}
		}))
	printed.Check(err)
	for e := range stream.Events {
		id := e.Id()
		printed.Event(id, e.Event(), e.Data())
	}
}
