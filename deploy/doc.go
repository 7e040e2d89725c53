// Package deploy holds what Outcrier is put into service with: for containers,
// Kubernetes, systemd, and the proxies in front of it. The tests hold it against
// the binary.
package deploy
