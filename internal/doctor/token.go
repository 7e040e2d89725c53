package doctor

import (
	"context"
)

func (e *examination) token(ctx context.Context) {}
func (e *examination) url(ctx context.Context)   {}
