package outcrier

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/outcrier/outcrier/outbox/tail"
)

// settings are those that nodes on one database should agree on, or that explain what a
// node does, by the name of their flag, for the admin page.
func (c Config) settings() map[string]string {
	onOff := map[bool]string{false: "off", true: "on"}
	retention := "unlimited"
	if c.Retention > 0 {
		retention = days(c.Retention)
	}
	rules := make([]string, len(c.TopicRetention))
	for i, rule := range c.TopicRetention {
		rules[i] = fmt.Sprintf("%s=%s", rule.Pattern, days(rule.Keep))
	}
	return map[string]string{
		"retention": retention, "topic-retention": strings.Join(rules, " "), "audit": onOff[c.Audit], "wake": string(cmp.Or(c.Wake, tail.WakeNotify)), "gzip": onOff[c.Gzip],
		"turn": c.BatchInterval.String(), "idle-turn": c.PollInterval.String(), "replay-buffer": fmt.Sprint(c.ReplayBuffer), "pool": fmt.Sprint(c.Connections),
		"heartbeat": c.Heartbeat.String(), "stall": c.Stall.String(), "retry": c.Retry.String(), "drain": c.DrainTime.String(), "max-streams": fmt.Sprint(c.MaxStreams),
	}
}

// days writes a duration of whole days so, and of hours or minutes without zeros.
func days(d time.Duration) string {
	if d > 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}
