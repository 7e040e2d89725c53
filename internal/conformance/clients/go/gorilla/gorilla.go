// Package gorilla follows a stream by the library of that name.
package gorilla

import (
	"github.com/gorilla/websocket"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	dialer := websocket.Dialer{Subprotocols: []string{"outcrier"}}
	printed.Follow(func(address string, f *printed.Follower) error {
		conn, _, err := dialer.Dial(address, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for {
			_, text, err := conn.ReadMessage()
			if err != nil {
				return err
			}
			f.Message(text)
		}
	})
}
