package handlers

import "context"

// Publisher is who appends by HTTP. Nothing in a request but its token sets it.
type Publisher struct {
	// Subject is whom the token is for, Address the client's address.
	Subject, Address string
}

type publisherKey struct{}

// publishing returns the context of an append, which says who it is from.
func publishing(ctx context.Context, who identity) context.Context {
	if who.open || who.Subject == "" {
		return ctx
	}
	return context.WithValue(ctx, publisherKey{}, Publisher{Subject: who.Subject, Address: who.address})
}

// PublisherOf returns who the request is from that Config.Append is called for; known is
// false where no token with a subject is needed.
func PublisherOf(ctx context.Context) (by Publisher, known bool) {
	by, known = ctx.Value(publisherKey{}).(Publisher)
	return by, known
}
