// Package resty follows a stream by the library of that name.
package resty

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"resty.dev/v3"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	source := resty.NewSSESource().SetURL(printed.URL()).
		SetRetryCount(math.MaxInt). // it gives up after three tries else
		SetSizeMaxBuffer(2 << 20)   // it ends at an event over 32 kB else
	var payload json.RawMessage // with a type, half an event is an error and not a message
	source.OnMessage(func(message any) {
		printed.Event("", "message", string(*message.(*json.RawMessage)))
	}, &payload)
	for { // it leaves it to its user to come back
		fmt.Fprintln(os.Stderr, source.Get())
		time.Sleep(printed.Pause) // or it asks without a pause while nobody is there
	}
}
