package outbox

import "log/slog"

// logOr returns log, or a logger that discards everything for nil.
func logOr(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
