package doctor

import "testing"

// examine is a whole examination.
func examine(t *testing.T, c Config) (list findings) {
	t.Helper()
	c.Found = list.add
	Examine(t.Context(), c)
	return list
}
