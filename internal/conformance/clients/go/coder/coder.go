// Package coder follows a stream by the library of that name.
package coder

import (
	"context"

	"github.com/coder/websocket"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

// Follow follows the stream.
func Follow() {
	printed.Follow(func(address string, f *printed.Follower) error {
		ctx := context.Background()
		conn, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{"outcrier"}})
		if err != nil {
			return err
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			f.Message(text)
		}
	})
}
