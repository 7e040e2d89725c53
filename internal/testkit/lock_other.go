//go:build !unix

package testkit

// lock does nothing: there is no Postgres for the tests that run at the same time.
func lock(string) (free func(), err error) { return func() {}, nil }
