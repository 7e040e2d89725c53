package migrations_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// Each partition costs every read, and locks: whatever the retention, and however it
// changes, there are some forty at the most, and none overlaps another.
func TestPartitions_AreNeverMany(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	const add = `DO $$ BEGIN WHILE outcrier.add_partition('RETENTION', now() + interval 'DAYS days') IS NOT NULL LOOP END LOOP; END $$`
	const drop = `DO $$ BEGIN WHILE outcrier.drop_partition('RETENTION', now() + interval 'DAYS days') IS NOT NULL LOOP END LOOP; END $$`
	day := 0
	for _, one := range []struct {
		retention  string
		days, step int // the days are more than the retention; a step is shorter than a partition, or three days
	}{{"7 days", 12, 3}, {"9600 hours", 480, 12}, {"33 days", 48, 3}, {"32 days", 48, 3}, {"0", 360, 60}, {"7 days", 12, 3}} {
		for begin := day; day < begin+one.days; day += one.step {
			exec(t, conn, replace(add, one.retention, day))
			exec(t, conn, replace(drop, one.retention, day))
		}
		if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.partitions()`); n > 45 {
			t.Errorf("with a retention of %s there are %d partitions", one.retention, n)
		}
		if gaps := ask[int](t, conn, `SELECT count(*) FROM (SELECT begins < lag(ends) OVER (ORDER BY begins) AS early FROM outcrier.partitions()) AS p WHERE early`); gaps > 0 {
			t.Errorf("with a retention of %s %d partitions overlap", one.retention, gaps)
		}
		if ahead := ask[bool](t, conn, replace(`SELECT bool_or(begins <= now() + interval 'DAYS days' AND ends > now() + interval 'DAYS days') FROM outcrier.partitions()`, one.retention, day-one.step)); !ahead {
			t.Errorf("with a retention of %s the present day has no partition", one.retention)
		}
	}
}

func replace(statement, retention string, day int) string {
	return strings.NewReplacer("RETENTION", retention, "DAYS", strconv.Itoa(day)).Replace(statement)
}
