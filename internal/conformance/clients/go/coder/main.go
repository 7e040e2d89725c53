package main

import (
	"context"

	"github.com/coder/websocket"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/printed"
)

func main() {
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
