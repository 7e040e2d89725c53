package tail_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// sqlPosition is a position as an application gets it.
func sqlPosition(t testing.TB, db sqltest.Querier) string {
	t.Helper()
	return sqltest.Ask1[string](t, db, `SELECT outcrier.position()`)
}

func TestKeys_SQLIsHMAC(t *testing.T) {
	pool := outboxtest.New(t)
	// RFC 4231, test case 2.
	const query = `
SELECT encode(outcrier.hmac(outcrier.xor(k, decode(repeat('36', 64), 'hex')), outcrier.xor(k, decode(repeat('5c', 64), 'hex')),
	convert_to('what do ya want for nothing?', 'UTF8')), 'hex')
FROM (SELECT convert_to('Jefe', 'UTF8') || decode(repeat('00', 60), 'hex') AS k) AS key`
	if got := sqltest.Ask1[string](t, pool, query); got != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Error(got)
	}
}

// A new key is used ten minutes later, the one before is taken until the next rotation, and
// a node learns of both while it runs.
func TestKeys_RotateUnderARunningTail(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	keys := new(position.Keys)
	follower := &tail.Tail{URL: url, Keys: keys, IdleTurn: 10 * time.Millisecond}
	follower.ReadKeysEvery(time.Millisecond)
	c := follow(t, follower)
	p := c.starts[0]
	first := keys.Seal(p)
	taken := func(text string) bool { _, err := keys.Open(text); return err == nil }
	if bySQL := sqlPosition(t, pool); !taken(first) || !taken(bySQL) {
		t.Fatalf("of the present key: %s %t, by SQL %s %t", first, taken(first), bySQL, taken(bySQL))
	}
	rotate := func() {
		t.Helper()
		sqltest.Exec(t, pool, `SELECT outcrier.rotate_position_key()`)
		if ahead := sqltest.Ask1[bool](t, pool, `SELECT min(used_from - clock_timestamp()) FILTER (WHERE used_from > clock_timestamp()) BETWEEN '9 minutes' AND '10 minutes' FROM outcrier.position_key`); !ahead {
			t.Error("a new key is not used from ten minutes later on")
		}
		if text := keys.Seal(p); text != first || !taken(sqlPosition(t, pool)) {
			t.Errorf("before: %s, then %s", first, text)
		}
		sqltest.Exec(t, pool, `UPDATE outcrier.position_key SET used_from = clock_timestamp()`)
		eventually(t, func() bool { return keys.Seal(p) != first })
	}
	rotate()
	second := keys.Seal(p)
	if bySQL := sqlPosition(t, pool); !taken(first) || !taken(second) || !taken(bySQL) {
		t.Errorf("after a rotation: before it %t, behind it %t, by SQL %t", taken(first), taken(second), taken(bySQL))
	}
	before := first
	first = second
	rotate()
	if taken(before) || !taken(first) || !taken(keys.Seal(p)) || !taken(sqlPosition(t, pool)) {
		t.Errorf("after two rotations: %t %t", taken(before), taken(first))
	}
}

// The schema works without any row: a key that is gone is made again, and a position
// that was sealed with it is a gap from then on.
func TestKeys_GoneAreMadeAnew(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	keys := new(position.Keys)
	follower := &tail.Tail{URL: url, Keys: keys, IdleTurn: 10 * time.Millisecond}
	follower.ReadKeysEvery(time.Millisecond)
	p := follow(t, follower).starts[0]
	old, bySQL := keys.Seal(p), sqlPosition(t, pool)
	sqltest.Exec(t, pool, `TRUNCATE outcrier.position_key`)
	eventually(t, func() bool { return keys.Seal(p) != old })
	for _, text := range []string{old, bySQL} {
		if _, err := keys.Open(text); !errors.Is(err, position.ErrMalformedPosition) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := keys.Open(sqlPosition(t, pool)); err != nil {
		t.Error(err)
	}
}

// If the schema came without its rows there is no key until a node starts, and a
// position that is returned before that is a gap.
func TestKeys_WithoutOneAPositionIsAGap(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `TRUNCATE outcrier.position_key`)
	text := sqlPosition(t, pool)
	keys := new(position.Keys)
	if err := keys.Read(t.Context(), pool, outbox.DefaultSchema); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(text); !strings.HasPrefix(text, "0.") || !errors.Is(err, position.ErrMalformedPosition) {
		t.Errorf("%s: %v", text, err)
	}
}
