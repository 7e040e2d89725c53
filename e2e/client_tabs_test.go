package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
)

// streams is how many streams the server has open that name a topic.
func (s *stage) streams(t *testing.T, topic string) (n int) {
	t.Helper()
	const streamsSQL = `SELECT count(*) FROM outcrier.stream WHERE closed_at IS NULL AND $1 = ANY(topics)`
	if err := s.db.QueryRow(t.Context(), streamsSQL, s.topic+"/"+topic).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// tabsShare has three tabs that want different topics, closes the one that leads, and
// then the next.
func tabsShare(t *testing.T, s *stage) {
	want := []string{"a", "b", "both/*"}
	var tabs []tab
	for i, topic := range want {
		in := s.page(t, fmt.Sprintf("share: true, topics: ['%s/%s', '%[1]s/all']", s.topic, topic))
		isLive(t, in)
		if via := value[string](t, in, "stream.via"); (via == "tab") != (i > 0) {
			t.Errorf("events come to tab %d via %s", i, via)
		}
		tabs = append(tabs, in)
	}
	testkit.Eventually(t, "the tabs have one stream", func() bool {
		return s.streams(t, "a") == 1 && s.streams(t, "b") == 1 && s.streams(t, "both/*") == 1 && s.streams(t, "all") == 1
	})
	compare := func(leading int) {
		t.Helper()
		s.add(t, "a", "b", "both/1", "all", "b", "both/2", "a", "none", "all")
		for i := leading; i < len(tabs); i++ {
			var held []string
			for _, r := range rows(t, s.database, s.topic+"/%") {
				if name := strings.TrimPrefix(r.Topic, s.topic+"/"); name == "all" || name == want[i] || strings.HasPrefix(name, "both/") && i == 2 {
					held = append(held, strconv.FormatInt(r.ID, 10))
				}
			}
			s.same(t, tabs[i], held)
		}
	}
	compare(0)
	tabs[0].close(t)
	compare(1)
	testkit.Eventually(t, "the tabs left have one stream", func() bool { return s.streams(t, "all") == 1 && s.streams(t, "a") == 0 })
	// A tab that comes later, from the past, and whose page is reloaded.
	past := s.page(t, fmt.Sprintf("share: true, remember: 'tabs', from: 'earliest', topics: ['%s/b', '%[1]s/all']", s.topic))
	want, tabs = append(want, "b"), append(tabs, past)
	compare(1)
	before := len(value[[]string](t, past, "stream.ids"))
	past.navigate(t, s.site.base+"/elsewhere")
	s.add(t, "b", "all")
	tabs[1].close(t)
	s.add(t, "b", "all")
	past.navigate(t, s.site.base+"/page")
	s.listen(t, past, fmt.Sprintf("share: true, remember: 'tabs', from: 'earliest', topics: ['%s/b', '%[1]s/all']", s.topic))
	isLive(t, past)
	tabs = tabs[:3]
	compare(2)
	var held []string
	for _, r := range rows(t, s.database, s.topic+"/%") {
		if strings.HasSuffix(r.Topic, "/b") || strings.HasSuffix(r.Topic, "/all") {
			held = append(held, strconv.FormatInt(r.ID, 10))
		}
	}
	s.same(t, past, held[before:])
	testkit.Eventually(t, "the tabs left have one stream", func() bool { return s.streams(t, "all") == 1 })
	s.leave(t, tabs[2], past)
}

// tabMayNot has a tab ask for a topic that is refused: the others go on without it.
func tabMayNot(t *testing.T, s *stage) {
	good := s.page(t, "share: true")
	isLive(t, good)
	s.add(t, "a")
	bad := s.page(t, "share: true, topics: ['a/**/b']")
	until(t, bad, "the page is told what is wrong", "stream.state === 'closed' && stream.told.at(-1)[1].status === 400")
	s.check(t, good, "a", "%", 0)
	s.leave(t, good, bad)
}

// leaderHangs keeps the page that leads from doing anything until another one has taken over. Only
// Chromium can pause it. In Firefox it is busy, and on a machine that is busy itself for longer: each
// try is twice as long as the one before.
func leaderHangs(t *testing.T, s *stage) {
	leader, other := s.page(t, "share: true"), s.page(t, "share: true")
	isLive(t, leader)
	isLive(t, other)
	s.add(t, "a")
	until(t, other, "the other page has an event", "stream.ids.length === 1")
	hasConnection := func() bool { return value[string](t, other, "stream.via") != "tab" }
	if hasConnection() {
		t.Fatal("each page has a connection of its own")
	}
	if paused, is := leader.(chromiumTab); is && !testkit.Long() {
		resume := paused.pause(t)
		testkit.Eventually(t, "another page takes over", hasConnection)
		resume()
	}
	for busy := 5 * time.Second; !hasConnection(); busy *= 2 {
		if busy > testkit.Deadline {
			t.Fatalf("the leading page was busy for %v, and no other took over", busy/2)
		}
		leader.eval(t, fmt.Sprintf("void setTimeout(() => { for (const end = Date.now() + %d; Date.now() < end; ); })", busy.Milliseconds()))
		for end := time.Now().Add(busy); time.Now().Before(end) && !hasConnection(); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	s.check(t, other, "b", "%", 0)
	s.add(t, "b")
	s.check(t, leader, "a", "%", 0)
	s.same(t, other, s.held(t, "%"))
	leader.close(t)
	s.check(t, other, "a", "%", 0)
	s.leave(t, other)
}
