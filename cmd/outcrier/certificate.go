package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate in files, which are read again when they change, so that a
// renewal needs no restart.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	looked time.Time // when the files were last checked
	seen   [2]stamp  // as they were then
	read   *tls.Certificate
}

// stamp changes when a file changes.
type stamp struct {
	changed time.Time
	size    int64
}

// lookEvery is how often the files are checked, if there are handshakes.
const lookEvery = time.Second

// get is for tls.Config. As long as the files can't be read, or don't fit together
// since only one of them is new, the certificate from before stays.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.read == nil || now.Sub(c.looked) >= lookEvery {
		c.looked = now
		if err := c.look(); err != nil {
			if c.read == nil {
				return nil, err
			}
			c.log.Warn("certificate can't be read, the previous one stays in use", "file", c.cert, "err", err, "retry_in", lookEvery)
		}
	}
	return c.read, nil
}

func (c *certificate) look() error {
	var now [2]stamp
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		now[i] = stamp{info.ModTime(), info.Size()}
	}
	if c.read != nil && now == c.seen {
		return nil
	}
	read, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.read, c.seen = &read, now
	c.log.Info("certificate read", "file", c.cert, "names", read.Leaf.DNSNames, "expires", read.Leaf.NotAfter)
	return nil
}
