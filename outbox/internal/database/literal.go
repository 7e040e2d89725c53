package database

import "strings"

// ArrayLiteral writes texts as Postgres reads an array (manual, 8.15.6): each in
// quotes, so that none is NULL and nothing is stripped.
func ArrayLiteral(texts []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, text := range texts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(arrayEscapes.Replace(text))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var arrayEscapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`)
