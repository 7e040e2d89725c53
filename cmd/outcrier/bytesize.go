package main

import "github.com/outcrier/outcrier/internal/units"

// byteSize is a number of bytes, written like "65536", "512KiB" or "4MiB".
type byteSize int64

func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := units.Bytes(string(text))
	*b = byteSize(n)
	return err
}
