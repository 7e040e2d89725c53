package wire

import (
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// testKeys seal the positions of these tests.
var testKeys = outbox.NewPositionKeys()

func sealed(p outbox.Position) string { return testKeys.Seal(p) }

var epoch = time.Date(2026, 11, 22, 2, 0, 0, 123456000, time.UTC)

// after is the position after an event that is alone in its transaction.
func after(e outbox.Event) outbox.Position {
	return outbox.Position{
		History: 1, EventID: e.ID, Given: outbox.Set{Max: e.XID}, Anchor: outbox.Anchor{XID: e.XID, Hash: uint32(e.XID)},
	}
}
