package sse

import "strings"

// index finds the subscriptions that follow a topic: exact topics by a map,
// patterns by a trie of their segments. An event that nobody follows costs a
// look-up. It is guarded by its hub's lock.
type index struct {
	exact    map[string]map[*Subscription]struct{}
	patterns node
}

// node is a place in the trie: what was reached by the segments before it.
type node struct {
	children map[string]*node
	// ends are those whose pattern ends here, rest those whose "**" stands here.
	ends, rest map[*Subscription]struct{}
}

func newIndex() index {
	return index{exact: map[string]map[*Subscription]struct{}{}}
}

func (x *index) add(s *Subscription) {
	for _, p := range s.filter.Topics {
		if p.Exact() {
			set := x.exact[string(p)]
			insert(&set, s)
			x.exact[string(p)] = set
			continue
		}
		x.patterns.add(strings.Split(string(p), "/"), s)
	}
}

func (x *index) remove(s *Subscription) {
	for _, p := range s.filter.Topics {
		if p.Exact() {
			delete(x.exact[string(p)], s)
			if len(x.exact[string(p)]) == 0 {
				delete(x.exact, string(p))
			}
			continue
		}
		x.patterns.remove(strings.Split(string(p), "/"), s)
	}
}

// each calls fn for every subscription that follows topic, more than once when
// several of its patterns match.
func (x *index) each(topic string, fn func(*Subscription)) {
	for s := range x.exact[topic] {
		fn(s)
	}
	x.patterns.each(topic, true, fn)
}

func (n *node) add(segments []string, s *Subscription) {
	switch {
	case len(segments) == 0:
		insert(&n.ends, s)
	case segments[0] == "**":
		insert(&n.rest, s)
	default:
		child := n.children[segments[0]]
		if child == nil {
			if n.children == nil {
				n.children = map[string]*node{}
			}
			child = &node{}
			n.children[segments[0]] = child
		}
		child.add(segments[1:], s)
	}
}

// remove takes s out, and nodes that lead nowhere with it.
func (n *node) remove(segments []string, s *Subscription) {
	switch {
	case len(segments) == 0:
		delete(n.ends, s)
	case segments[0] == "**":
		delete(n.rest, s)
	default:
		child := n.children[segments[0]]
		if child == nil {
			return
		}
		child.remove(segments[1:], s)
		if len(child.children)+len(child.ends)+len(child.rest) == 0 {
			delete(n.children, segments[0])
		}
	}
}

// each walks the topic's segments; more is false when none is left.
func (n *node) each(topic string, more bool, fn func(*Subscription)) {
	for s := range n.rest {
		fn(s)
	}
	if !more {
		for s := range n.ends {
			fn(s)
		}
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

func insert(set *map[*Subscription]struct{}, s *Subscription) {
	if *set == nil {
		*set = map[*Subscription]struct{}{}
	}
	(*set)[s] = struct{}{}
}
