package admin

import (
	"strings"
)

// statement is the search for ids from low, if it is not 0, to below top, if it
// is not 0.
func (p *searchPage) statement(top, low int64, limit int) *statement {
	s := new(statement)
	s.add("SELECT id, created_at, topic, type, payload, source, headers, severity, title, publisher\nFROM outcrier.history")
	word := "\nWHERE "
	if top > 0 {
		s.add(word+"id < ?", top)
		word = "\n  AND "
	}
	if low > 0 {
		s.add(word+"id >= ?", low)
		word = "\n  AND "
	}
	p.where(s, word)
	s.add("\nORDER BY id DESC\nLIMIT ?", limit)
	return s
}

// where adds the search's conditions to s, the first one after word.
func (p *searchPage) where(s *statement, word string) {
	where := func(sql string, values ...any) {
		s.add(word)
		s.add(sql, values...)
		word = "\n  AND "
	}
	switch {
	case p.Topic == "" || p.Topic == "**":
	case p.Topic.Exact():
		where("topic = ?", string(p.Topic))
	default:
		where("outcrier.matches(topic, ?)", string(p.Topic))
	}
	if prefix, ok := strings.CutSuffix(p.Type, "*"); ok && prefix != "" {
		where("starts_with(type, ?)", prefix)
	} else if p.Type != "" && !ok {
		where("type = ?", p.Type)
	}
	if !p.From.IsZero() {
		where("created_at >= ?", p.From)
	}
	if !p.Until.IsZero() {
		where("created_at < ?", p.Until)
	}
	if p.Text != "" {
		where("payload::text ILIKE ?", likeContains(p.Text))
	}
	if p.before > 0 {
		where("pg_visible_in_snapshot(xid, ?)", p.snapshot)
	}
}

// shown returns the statement for psql that returns the events found in a span. It has a
// bound on ids only where there are events beyond it, and no lower one where its limit ends
// it.
func (p *searchPage) shown(s span, found *Found) *statement {
	low, top := found.ScannedTo, s.high
	if len(found.Events) == p.Limit || low == p.least {
		low = 0
	}
	if p.before == 0 && top == p.last {
		top = 0
	}
	return p.statement(top, low, p.Limit)
}

// publisherOf is who appended a row of that name by HTTP, an event or a scheduled one, for
// rows that are listed: a look-up for each, and no join that the planner may put first.
func publisherOf(row string) string {
	return `(SELECT p.publisher FROM outcrier.publication AS p WHERE p.id = ` + row + `.id)`
}
