package wire

import (
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// testKeys seal the positions of these tests.
var testKeys = position.NewKeys()

func sealed(p position.Position) string { return testKeys.Seal(p) }

var epoch = time.Date(2026, 11, 22, 2, 0, 0, 123456000, time.UTC)

// after is the position after an event that is alone in its transaction.
func after(e outbox.Event) position.Position {
	return position.Position{
		History: 1, EventID: e.ID, Given: position.Set{Max: e.XID}, Anchor: position.Anchor{XID: e.XID, Hash: uint32(e.XID)},
	}
}
