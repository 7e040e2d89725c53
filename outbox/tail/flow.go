package tail

import "time"

// flow decides whether events flow or come only now and then. It is a bucket that every
// event fills by one and that drains at flowRate: events flow from when it is full until it
// is half empty. They also count as flowing for a while after writers waited for each other
// because they notify.
type flow struct {
	level   float64
	at      time.Time
	flowing bool
	// Until held, events count as flowing, whatever the bucket says.
	held time.Time
}

const (
	// With fewer events a second a tail sleeps between them, and each commit notifies; with
	// more it stays awake, and no commit notifies. A notification holds the lock on the
	// cluster's notifications while its commit reaches the disk: at 1 ms, this many hold it
	// for a tenth of the time.
	flowRate = 100
	// So many may come at once without being a flow.
	flowBurst = 10
	// flowHold is how long writers that waited for each other don't notify before the tail
	// requests a notification again.
	flowHold = 10 * time.Second
)

// after counts events that were read, and reports whether they flow.
func (f *flow) after(now time.Time, events int) bool {
	f.level = max(0, f.level-flowRate*now.Sub(f.at).Seconds())
	f.level = min(flowBurst, f.level+float64(events))
	f.at = now
	f.flowing = f.level >= flowBurst || f.flowing && f.level > flowBurst/2 || now.Before(f.held)
	return f.flowing
}

// hold has events flow for a while, however few they are.
func (f *flow) hold(now time.Time) { f.held, f.flowing = now.Add(flowHold), true }
