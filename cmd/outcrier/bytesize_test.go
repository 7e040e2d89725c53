package main

import (
	"math/big"
	"strings"
	"testing"
)

// A size is the number that is written there, and never one that has overflowed.
func FuzzByteSize(f *testing.F) {
	for _, text := range []string{"0", "65536", "512KiB", "4MiB", "8589934592GiB", "-1", "+1", "1 KiB", "KiB", "1KB", "9223372036854775807"} {
		f.Add(text)
	}
	units := map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
	f.Fuzz(func(t *testing.T, text string) {
		var size byteSize
		if size.UnmarshalText([]byte(text)) != nil {
			return
		}
		digits, factor := text, int64(1)
		for suffix, unit := range units {
			if rest, ok := strings.CutSuffix(text, suffix); ok {
				digits, factor = rest, unit
			}
		}
		exact, ok := new(big.Int).SetString(digits, 10)
		if !ok || exact.Mul(exact, big.NewInt(factor)).Cmp(big.NewInt(int64(size))) != 0 || size < 0 {
			t.Fatalf("%q is %d", text, size)
		}
	})
}
