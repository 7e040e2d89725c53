package hub

import "strings"

// index finds the subscriptions that follow a topic: exact topics by a map, patterns by a
// trie of their segments. An event without subscriptions costs one look-up. It is guarded
// by its hub's lock.
type index struct {
	exact    map[string]*list
	patterns node
}

// node is a node of the trie, reached by the segments before it.
type node struct {
	children map[string]*node
	// ends are those whose pattern ends here, rest those whose "**" is here.
	ends, rest list
}

// list holds subscriptions in no order. Each knows its places, so that it is
// taken out without a search.
type list []entry

// entry is the topic-th topic of a subscription.
type entry struct {
	*Subscription
	topic int
}

func newIndex() index {
	return index{exact: map[string]*list{}}
}

func (x *index) add(s *Subscription) {
	s.places = make([]int, len(s.filter.Topics))
	for i, p := range s.filter.Topics {
		if !p.Exact() {
			x.patterns.add(strings.Split(string(p), "/"), entry{s, i})
			continue
		}
		l := x.exact[string(p)]
		if l == nil {
			l = &list{}
			x.exact[string(p)] = l
		}
		l.add(entry{s, i})
	}
}

func (x *index) remove(s *Subscription) {
	for i, p := range s.filter.Topics {
		if !p.Exact() {
			x.patterns.remove(strings.Split(string(p), "/"), entry{s, i})
			continue
		}
		l := x.exact[string(p)]
		if l.remove(entry{s, i}); len(*l) == 0 {
			delete(x.exact, string(p))
		}
	}
}

// each calls fn for every subscription that follows topic, more than once when
// several of its patterns match.
func (x *index) each(topic string, fn func(*Subscription)) {
	if l := x.exact[topic]; l != nil {
		l.each(fn)
	}
	x.patterns.each(topic, true, fn)
}

func (l *list) add(e entry) {
	e.places[e.topic] = len(*l)
	*l = append(*l, e)
}

func (l *list) remove(e entry) {
	at, last := e.places[e.topic], len(*l)-1
	moved := (*l)[last]
	(*l)[at], (*l)[last] = moved, entry{}
	moved.places[moved.topic] = at
	*l = (*l)[:last]
}

func (l list) each(fn func(*Subscription)) {
	for _, e := range l {
		fn(e.Subscription)
	}
}

func (n *node) add(segments []string, e entry) {
	switch {
	case len(segments) == 0:
		n.ends.add(e)
	case segments[0] == "**":
		n.rest.add(e)
	default:
		child := n.children[segments[0]]
		if child == nil {
			if n.children == nil {
				n.children = map[string]*node{}
			}
			child = &node{}
			n.children[segments[0]] = child
		}
		child.add(segments[1:], e)
	}
}

// remove removes e, and the nodes that become empty.
func (n *node) remove(segments []string, e entry) {
	switch {
	case len(segments) == 0:
		n.ends.remove(e)
	case segments[0] == "**":
		n.rest.remove(e)
	default:
		child := n.children[segments[0]]
		child.remove(segments[1:], e)
		if len(child.children)+len(child.ends)+len(child.rest) == 0 {
			delete(n.children, segments[0])
		}
	}
}

// each walks the topic's segments; more is false when none is left.
func (n *node) each(topic string, more bool, fn func(*Subscription)) {
	n.rest.each(fn)
	if !more {
		n.ends.each(fn)
		return
	}
	if len(n.children) == 0 {
		return
	}
	segment, rest, more := strings.Cut(topic, "/")
	if child := n.children[segment]; child != nil {
		child.each(rest, more, fn)
	}
	if child := n.children["*"]; child != nil {
		child.each(rest, more, fn)
	}
}
