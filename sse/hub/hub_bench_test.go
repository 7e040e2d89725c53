package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
)

// BenchmarkHub_Deliver is the tail's part of it: one op is one event to a hub with
// many topics, followed by one subscription or by none.
func BenchmarkHub_Deliver(b *testing.B) {
	for _, topics := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			hub := New(&Buffer{Bytes: 1 << 20})
			feed := newFeed(hub)
			feed.event.Type, feed.event.Source, feed.event.Payload = "bench.happened", "/", json.RawMessage(`{"n":"`+strings.Repeat("p", 192)+`"}`) // 200 bytes, the budget's
			for i := range topics {
				sub, _, err := hub.Subscribe(context.Background(), outbox.Filter{Topics: []outbox.Pattern{outbox.Pattern(fmt.Sprintf("user/%d", i))}}, wire.CloudEvents, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer sub.Close()
			}
			for _, topic := range []string{"user/7", "nobody/7"} {
				b.Run("topic="+topic[:strings.IndexByte(topic, '/')], func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						feed.read(topic)
					}
				})
			}
		})
	}
}
