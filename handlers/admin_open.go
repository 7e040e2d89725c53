package handlers

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
)

// openStreams lists the streams of a node that keeps no audit, so that admins can see and end
// them.
type openStreams struct {
	mu     sync.Mutex
	number int64
	open   map[int64]*openStream
}

type openStream struct {
	subject, address string
	filter           outbox.Filter
	at               time.Time
	end              func()
}

// add lists a stream until remove is called.
func (o *openStreams) add(s *openStream) (number int64, remove func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = map[int64]*openStream{}
	}
	o.number++
	number = o.number
	o.open[number] = s
	return number, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.open, number)
	}
}

// follow lists other topics of a stream, which may have ended.
func (o *openStreams) follow(number int64, topics []outbox.Pattern) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open[number]; s != nil {
		s.filter.Topics = topics
	}
}

// find answers like Admin.Streams, on one page, without the events that the streams
// received.
func (o *openStreams) find(s admin.StreamSearch, node string, slow map[int64]float64) admin.StreamsFound {
	found := admin.StreamsFound{Streams: []admin.StreamRow{}}
	if s.Ended || s.Node != "" && s.Node != node {
		return found
	}
	prefix, begins := strings.CutSuffix(s.Subject, "*")
	o.mu.Lock()
	defer o.mu.Unlock()
	for number, each := range o.open {
		lag, isSlow := slow[number]
		switch {
		case begins && !strings.HasPrefix(each.subject, prefix), !begins && s.Subject != "" && each.subject != s.Subject, s.Slow && !isSlow:
			continue
		}
		row := admin.StreamRow{
			Stream: number, Node: node, Subject: each.subject, ClientAddress: each.address,
			Topics: make([]string, len(each.filter.Topics)), Types: append([]string{}, each.filter.Types...), OpenedAt: each.at, PositionAt: each.at,
		}
		for i, topic := range each.filter.Topics {
			row.Topics[i] = string(topic)
		}
		if isSlow {
			row.SlowFor = &lag
		}
		found.Streams = append(found.Streams, row)
	}
	found.Total = len(found.Streams)
	slices.SortFunc(found.Streams, func(a, b admin.StreamRow) int { return int(b.Stream - a.Stream) })
	found.Streams = found.Streams[:min(len(found.Streams), admin.StreamPage)]
	return found
}

// end ends one stream, or all of a subject if number is 0, and returns how many it ended.
func (o *openStreams) end(number int64, subject string) (ended int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n, each := range o.open {
		if n == number || number == 0 && each.subject == subject {
			each.end()
			ended++
		}
	}
	return ended
}

// listed lists a stream that the audit does not record while it is open. The context it
// returns ends when an admin ends the stream.
func (h *handlers) listed(ctx context.Context, who identity, filter outbox.Filter) (_ context.Context, number int64, forget func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	number, remove := h.unaudited.add(&openStream{
		subject: who.Subject, address: who.address, filter: filter, at: time.Now(), end: func() { cancel(errEnded) },
	})
	return ctx, number, func() { remove(); cancel(nil) }
}
