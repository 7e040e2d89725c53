package main

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// ServerSettings configures a node.
type ServerSettings struct {
	// DirectURL is never empty where DatabaseURL isn't.
	DirectURL     string `group:"Database" name:"direct-url" secret:"true" help:"the same database without a pooler in between, for LISTEN; by default the database URL"`
	DirectURLFile string `group:"Database" name:"direct-url-file" help:"a file with that URL, read again for each connection"`
	Data          string `group:"Database" name:"data" help:"the folder of the private Postgres, which runs if no database URL is given; by default a folder of this user"`
	Migrate       bool   `group:"Database" name:"migrate" help:"apply the migrations at start; by default in dev mode only"`
	Pool          int    `group:"Database" name:"pool" default:"8" allow:"1..1000" help:"the database connections for replay and appends"`

	// Listen is host:port. Port 0 picks a free one.
	Listen        string `group:"Listening" name:"listen" default:"127.0.0.1:8080" help:"the address to serve HTTP on; in dev mode, on loopback"`
	ProxySettings `group:"Listening"`

	Node    string `group:"Operation" name:"node" help:"the name of this process among the nodes; by default the host's with a random suffix"`
	Metrics string `group:"Operation" name:"metrics" default:"admin" help:"who may read GET /metrics: admin (a token that grants it), open (everyone), or an address of its own, like 127.0.0.1:9090 (everyone who reaches it)"`
	Debug   string `group:"Operation" name:"debug" help:"an address on loopback to serve Go's profiles at, like 127.0.0.1:6060; none by default"`

	Wake     string        `group:"Following the table" name:"wake" default:"notify" allow:"notify|poll" help:"how the tail learns of commits while it is idle: notify (LISTEN/NOTIFY), or poll (a read every 100ms)"`
	Turn     time.Duration `group:"Following the table" name:"turn" default:"10ms" allow:"1ms..1s" help:"the time between two reads of the tail while events flow"`
	IdleTurn time.Duration `group:"Following the table" name:"idle-turn" default:"1s" allow:"10ms..60s" help:"the longest time between two reads of the tail"`

	// MaxStreams is of this node, not of all.
	MaxStreams int           `group:"Streams" name:"max-streams" default:"20000" allow:"1..1000000" help:"the streams that may be open at a time"`
	Heartbeat  time.Duration `group:"Streams" name:"heartbeat" default:"15s" allow:"100ms..5m" help:"the silence on a stream after which a heartbeat is sent"`
	Stall      time.Duration `group:"Streams" name:"stall" default:"30s" allow:"1s..10m" help:"the time after which a stream is ended if its reader takes nothing"`
	Drain      time.Duration `group:"Streams" name:"drain" default:"5s" allow:"0s..5m" help:"the time over which all streams are ended when the server stops"`
	// DrainDelay comes before Drain.
	DrainDelay   time.Duration `group:"Streams" name:"drain-delay" default:"0s" allow:"0s..5m" help:"the time between /readyz turning to 503 and the end of the first stream, for load balancers to notice"`
	Retry        time.Duration `group:"Streams" name:"retry" default:"3s" allow:"100ms..5m" help:"the time after which a browser reconnects, on average"`
	Queue        int           `group:"Streams" name:"queue" default:"256" allow:"1..65536" help:"the frames that may wait for one stream before it falls back to a replay"`
	ReplayBuffer byteSize      `group:"Streams" name:"replay-buffer" default:"64MiB" allow:"64KiB..4096MiB" help:"the newest events kept in memory, from which streams are resumed"`
	Gzip         bool          `group:"Streams" name:"gzip" help:"gzip streams and polls for clients that accept it (each event is compressed once and shared)"`

	LimitSettings `group:"Limits"`

	Retention time.Duration `group:"Retention and audit" name:"retention" default:"168h" allow:"0|24h.." help:"the age at which events are removed; 0 keeps them for ever"`
	// TopicRetention is by pattern.
	TopicRetention map[string]time.Duration `group:"Retention and audit" name:"topic-retention" help:"topics whose events are removed earlier, with the age (1m at least), like presence/**=1h; a pattern can't begin with a wildcard"`
	Audit          bool                     `group:"Retention and audit" name:"audit" help:"record in the table stream which streams received which events, for receipts and the admin page"`
	// AuditRetention is 0 for as long as the oldest event.
	AuditRetention time.Duration `group:"Retention and audit" name:"audit-retention" default:"0" allow:"0|168h.." help:"the age at which records of the audit are removed, a whole day at a time; 0 keeps them for as long as the oldest event, and a week at least"`
}

// check checks the settings; open is set for a server that needs no token.
func (s *ServerSettings) check(r *report, databaseURL string, open bool) {
	if open {
		s.withoutPrincipals(r)
	}
	if problem := notLoopback(s.Listen); open && problem != "" {
		r.reject("listen", "%s", problem)
	} else if problem := notAddress(s.Listen); problem != "" {
		r.reject("listen", "%s", problem)
	}
	s.ProxySettings.check(r)
	if s.Debug != "" {
		if problem := notLoopback(s.Debug); problem != "" {
			r.reject("debug", "%s", problem)
		}
	}
	if problem := notAddress(s.Metrics); s.metricsApart() && problem != "" {
		r.reject("metrics", "want admin, open or an address: %s", problem)
	}
	urlFromFile(r, "direct-url", &s.DirectURL, &s.DirectURLFile)
	rejectUnlessDSN(r, "direct-url", s.DirectURL)
	s.checkTopicRetention(r)
	switch {
	case s.DirectURL == "":
		s.DirectURL = databaseURL
	case databaseURL == "":
		r.reject("direct-url", "needs --database-url too")
	}
	if s.Node == "" {
		s.Node = outcrier.DefaultName()
	}
	if err := outcrier.CheckName(s.Node); err != nil {
		r.reject("node", "%v", err)
	}
	if s.IdleTurn < s.Turn && r.setting("turn").problem == "" {
		r.reject("idle-turn", "want at least --turn, %v", s.Turn)
	}
}

// metricsApart reports whether the metrics have an address of their own.
func (s ServerSettings) metricsApart() bool { return s.Metrics != "admin" && s.Metrics != "open" }

func (s *ServerSettings) checkTopicRetention(r *report) {
	for text, keep := range s.TopicRetention {
		pattern, err := outbox.ParsePattern(text)
		switch {
		case err != nil:
			r.reject("topic-retention", "%v", err)
		case strings.HasPrefix(text, "*"):
			r.reject("topic-retention", "topic %q begins with a wildcard: it would be looked for among all topics, every minute; --retention is for all", pattern)
		case keep < time.Minute:
			r.reject("topic-retention", "%s=%v: want a minute at least", pattern, keep)
		}
	}
}

// rules are those of TopicRetention, in an order that is always the same.
func (s *ServerSettings) rules() []upkeep.Rule {
	var rules []upkeep.Rule
	for _, pattern := range slices.Sorted(maps.Keys(s.TopicRetention)) {
		rules = append(rules, upkeep.Rule{Pattern: outbox.Pattern(pattern), Keep: s.TopicRetention[pattern]})
	}
	return rules
}

// notAddress returns why text is not an address to listen on, "" if it is one.
func notAddress(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "want host:port, or :port for all addresses"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "want a port from 0 to 65535 after the host"
	}
	return ""
}

// notLoopback returns why an address must not be used without tokens, "" if it may.
func notLoopback(address string) string {
	const want = "want host:port with 127.0.0.1, [::1] or localhost as the host"
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return want
	}
	if problem := notAddress(address); problem != "" {
		return problem
	}
	if host == "localhost" || net.ParseIP(host).IsLoopback() {
		return ""
	}
	return want + ": no token is needed there, and other addresses can be reached from other machines"
}
