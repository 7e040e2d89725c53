package outcrier

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// nodeName matches valid names of nodes.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName returns an error if name is not valid as the name of a node.
func CheckName(name string) error {
	if !nodeName.MatchString(name) {
		return errors.New(`want 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit`)
	}
	return nil
}

// DefaultName returns the host's name with a random suffix: a node that is restarted is
// not taken for the one before.
func DefaultName() string {
	const longest, suffix = 63, 6
	host, err := os.Hostname()
	if err != nil || CheckName(host) != nil {
		host = "node"
	}
	host = host[:min(len(host), longest-1-suffix)]
	return fmt.Sprintf("%s-%s", host, strings.ToLower(rand.Text()[:suffix]))
}
