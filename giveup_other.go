//go:build !linux

package outcrier

import (
	"net"
	"time"
)

// giveUpAfter does nothing: the system's own timeout applies.
func giveUpAfter(*net.TCPConn, time.Duration) error { return nil }
