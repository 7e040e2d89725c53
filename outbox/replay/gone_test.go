package replay_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

func TestReader_GivesUpAConnectionThatIsDeadWithoutAWord(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(outboxtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	network, err := badnet.Listen(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = network.Address()
	through := u.String()
	config, err := outbox.PoolConfig(through)
	if err != nil {
		t.Fatal(err)
	}
	r := replay.Reader{Pool: outboxtest.Pool(t, through), Patience: 2 * time.Second} // a busy machine takes its time to connect
	t.Cleanup(network.Close)                                                         // before the pool, which waits 15 s for a dead connection to close
	if config.PingTimeout == 0 {
		t.Error("a pool waits for ever for a connection that was idle")
	}
	if _, err := r.Earliest(t.Context(), position.Position{}); err != nil {
		t.Fatal(err)
	}
	network.Forget()
	began := time.Now()
	for tries := 1; ; tries++ {
		_, err := r.Earliest(t.Context(), position.Position{})
		if err == nil {
			break
		}
		if tries == 5 {
			t.Fatalf("the %d. call after %v: %v", tries, time.Since(began), err)
		}
	}
}

// The history that a replay is of is gone: to try again would not bring it back.
func TestReplay_OfAHistoryThatIsGoneSaysSo(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	r := replay.Reader{Pool: pool}
	var positions []position.Position
	for range 2 {
		if _, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'b')`); err != nil {
			t.Fatal(err)
		}
		positions = append(positions, sqltest.Here(t, pool))
	}
	ranges := replay.Ranges(positions[0], positions[1])
	if page, err := r.Replay(t.Context(), ranges[0], outbox.Filter{Topics: []outbox.Pattern{"**"}}, 10, 0); err != nil || len(page.Events) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := pool.Exec(t.Context(), `TRUNCATE outcrier.event`); err != nil {
		t.Fatal(err)
	}
	_, err := r.Replay(t.Context(), ranges[0], outbox.Filter{Topics: []outbox.Pattern{"**"}}, 10, 0)
	if got, want := fmt.Sprint(err), "replay: "+replay.ErrTrimmed.Error()+": other_history"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
