package outbox

import (
	"context"
	"maps"

	"github.com/outcrier/outcrier/outbox/internal/plug"
)

// traced begins a span for an append, where the program traces and ctx has one, and returns
// the drafts with its traceparent, except those that have one of their own. end must be
// called.
func traced(ctx context.Context, drafts []Draft) (_ context.Context, _ []Draft, end func(error)) {
	if plug.Begin == nil {
		return ctx, drafts, func(error) {}
	}
	headers := make([]map[string]string, len(drafts))
	for i, d := range drafts {
		headers[i] = d.Headers
	}
	ctx, added, end := plug.Begin(ctx, headers)
	if added == nil {
		return ctx, drafts, end
	}
	with := make([]Draft, len(drafts))
	for i, d := range drafts {
		if with[i] = d; d.Headers["traceparent"] == "" {
			headers := maps.Clone(d.Headers)
			if headers == nil {
				headers = map[string]string{}
			}
			maps.Copy(headers, added)
			with[i].Headers = headers
		}
	}
	return ctx, with, end
}
