//go:build !unix

// Package pgserver runs a private Postgres on Linux and macOS. Elsewhere it says that it does not.
package pgserver

import (
	"context"
	"errors"
)

// ErrUnsupported is what every start fails with on this system: a Postgres that ends with its parent, and runs as another
// account where that is root's, takes Unix.
var ErrUnsupported = errors.New("a private Postgres runs on Linux and macOS only: give --database-url, or use WSL")

// Server never runs here.
type Server struct{}

// Start returns ErrUnsupported.
func Start(context.Context, Config) (*Server, error) { return nil, ErrUnsupported }

// DefaultData returns ErrUnsupported.
func DefaultData(string) (string, error) { return "", ErrUnsupported }

// MemoryFolder returns "".
func MemoryFolder() string { return "" }

// Cached returns ErrUnsupported.
func Cached(context.Context, string, func(dir string) error) (string, error) {
	return "", ErrUnsupported
}

// URL returns nothing.
func (s *Server) URL(string) string { return "" }

// Bin returns nothing.
func (s *Server) Bin() string { return "" }

// LogFile returns nothing.
func (s *Server) LogFile() string { return "" }

// Stop returns ErrUnsupported.
func (s *Server) Stop() error { return ErrUnsupported }

// Store returns ErrUnsupported.
func (s *Server) Store(context.Context, string) error { return ErrUnsupported }

// Kill returns ErrUnsupported.
func (s *Server) Kill() error { return ErrUnsupported }

// Restart returns ErrUnsupported.
func (s *Server) Restart(context.Context) error { return ErrUnsupported }
