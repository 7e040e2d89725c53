package main

import (
	"testing"

	"example.com/embed/embedtest"
)

func TestServe(t *testing.T) { embedtest.TwoUsers(t, serve, "/live/events") }
