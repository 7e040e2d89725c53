package torture

import (
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// TestFault_ForgottenByAFirewall: connections that are dead without notice, while new
// ones work, are given up: those of tails and of replays to the database, and those of
// readers.
func TestFault_ForgottenByAFirewall(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	// Nothing is resumed from memory.
	f := newField(t, server.URL(""), 2, "--replay-buffer", "64KiB", "--pool", "2")
	f.prepare()
	f.write(2)
	f.read(6)
	f.recover("the start", testkit.Deadline)
	f.suffer("client connections forgotten by a firewall", 10*time.Second, func() {
		for _, network := range f.client {
			network.Forget()
		}
	})
	// The last one: half a minute later a replay may still meet such a connection.
	f.suffer("database connections forgotten by a firewall", time.Minute, func() {
		for i := range f.nodes {
			f.database[i].Forget()
			f.client[i].Cut() // to have all resume
		}
	})
	f.end()
}
