package database

import "strings"

// Clean makes foreign text valid for Postgres, and 1,000 bytes long at most.
func Clean(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(text[:min(len(text), 1000)], "")
}
