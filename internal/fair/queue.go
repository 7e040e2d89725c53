// Package fair shares a node's scarce resources among its principals: a principal is the
// subject of a token, or a client address where there is none. The requests of a greedy
// principal wait for each other, and don't delay the others.
package fair

import (
	"context"
	"slices"
	"sync"
)

// With returns a context for work on behalf of the principal.
func With(ctx context.Context, principal string) context.Context {
	return context.WithValue(ctx, principalKey{}, principal)
}

// Principal returns the principal of ctx; empty where With was not called.
func Principal(ctx context.Context) string {
	principal, _ := ctx.Value(principalKey{}).(string)
	return principal
}

type principalKey struct{}

// Queue is a bounded number of places. Principals that wait for one are served in turns,
// one place each, however many requests each of them has; the requests of one principal are
// served in their order. A principal alone gets all places but those that Spare keeps free,
// so that the next one need not wait for its work to end. Work without a principal counts
// as one principal, which gets all places.
type Queue struct {
	places, most int

	mu   sync.Mutex
	held map[string]int // by principal; no zeros
	used int
	// waiting has the principals that wait, the next one first, and their requests.
	waiting  []string
	requests map[string][]chan struct{}
}

// NewQueue returns a queue of that many places, 1 at least, of which one principal holds
// all but spare, and 1 at least.
func NewQueue(places, spare int) *Queue {
	places = max(1, places)
	return &Queue{places: places, most: max(1, places-spare), held: map[string]int{}, requests: map[string][]chan struct{}{}}
}

// Enter waits for a place for the principal of ctx, and returns the function that releases
// it, which must be called once. It returns the cause of ctx if that ends first.
func (q *Queue) Enter(ctx context.Context) (leave func(), err error) {
	principal := Principal(ctx)
	leave = func() { q.leave(principal) }
	q.mu.Lock()
	if q.enter(principal) {
		q.mu.Unlock()
		return leave, nil
	}
	if len(q.requests[principal]) == 0 {
		q.waiting = append(q.waiting, principal)
	}
	ready := make(chan struct{})
	q.requests[principal] = append(q.requests[principal], ready)
	q.mu.Unlock()
	select {
	case <-ready:
		return leave, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.requests[principal], ready)
	if i >= 0 {
		q.forget(principal, i)
	}
	q.mu.Unlock()
	if i < 0 { // it got the place meanwhile
		leave()
	}
	return nil, context.Cause(ctx)
}

// TryEnter is like Enter, but does not wait. It reports whether there was a place.
func (q *Queue) TryEnter(ctx context.Context) (leave func(), ok bool) {
	principal := Principal(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.enter(principal) {
		return nil, false
	}
	return func() { q.leave(principal) }, true
}

// enter takes a place, unless there is none, or the principal has as many as it may. It
// overtakes no waiting request: each of those waits for one of these two reasons.
func (q *Queue) enter(principal string) bool {
	if q.used == q.places || q.held[principal] >= q.most && principal != "" {
		return false
	}
	q.used++
	q.held[principal]++
	return true
}

// leave releases a place, and assigns the free places.
func (q *Queue) leave(principal string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.held[principal]--; q.held[principal] == 0 {
		delete(q.held, principal)
	}
	for i := 0; i < len(q.waiting); {
		next := q.waiting[i]
		if !q.enter(next) {
			i++
			continue
		}
		close(q.requests[next][0])
		q.forget(next, 0)
		if len(q.requests[next]) > 0 { // to the end of the turns
			q.waiting = append(slices.Delete(q.waiting, i, i+1), next)
		}
	}
}

// Waiting returns how many requests wait for a place.
func (q *Queue) Waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, requests := range q.requests {
		n += len(requests)
	}
	return n
}

// forget removes a request that waits, and its principal from the turns if it was the last.
func (q *Queue) forget(principal string, i int) {
	if q.requests[principal] = slices.Delete(q.requests[principal], i, i+1); len(q.requests[principal]) > 0 {
		return
	}
	delete(q.requests, principal)
	q.waiting = slices.DeleteFunc(q.waiting, func(p string) bool { return p == principal })
}
