package outbox

import (
	"fmt"
	"os"
	"strings"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// FileURL returns a placeholder for the URL of a database, which is in a file. This module
// accepts it wherever it takes a URL, and reads the file for each connection, so that a
// password can change while the program runs.
func FileURL(name string) string { return filePrefix + name }

const filePrefix = "file:"

// ResolveURL returns the URL itself; for one that FileURL made, the present content of the
// file.
func ResolveURL(url string) (string, error) {
	name, is := strings.CutPrefix(url, filePrefix)
	if !is {
		return url, nil
	}
	text, err := os.ReadFile(name) //nolint:gosec // the file is named in the configuration
	if err != nil {
		return "", fmt.Errorf("read the database's URL: %w", err)
	}
	if url = strings.TrimSpace(string(text)); url == "" {
		return "", fmt.Errorf("read the database's URL: %w: %s is empty", database.ErrNoURL, name)
	}
	return url, nil
}
