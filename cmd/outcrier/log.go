package main

import (
	"io"
	"log/slog"
)

// LogSettings configures the log, on standard error.
type LogSettings struct {
	LogLevel  string `group:"Log" name:"log-level" default:"info" allow:"debug|info|warn|error" help:"the least severe level that is logged"`
	LogFormat string `group:"Log" name:"log-format" default:"text" allow:"text|json" help:"the form of a line of the log"`
}

func (l LogSettings) logger(w io.Writer) *slog.Logger {
	var options slog.HandlerOptions
	var level slog.Level
	if level.UnmarshalText([]byte(l.LogLevel)) == nil {
		options.Level = level
	}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, &options))
	}
	return slog.New(slog.NewTextHandler(w, &options))
}
