package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/outcrier/outcrier/internal/units"
)

// allowed is the set of values that a setting can have: alternatives separated by "|", each
// a word, a number or a range like "1ms..1s", which may be open at its upper end. For a
// setting that can be repeated, it is the set for each value. It is written once, in the
// setting's tag; the check, the help and the text of a mistake use it.
type allowed string

// String returns the set as text for people: "0, or 24h or more".
func (a allowed) String() string {
	var words []string
	ranges := false
	for alternative := range strings.SplitSeq(string(a), "|") {
		low, high, isRange := strings.Cut(alternative, "..")
		ranges = ranges || isRange
		switch {
		case isRange && high == "":
			words = append(words, low+" or more")
		case isRange:
			words = append(words, low+" to "+high)
		default:
			words = append(words, alternative)
		}
	}
	if ranges {
		return strings.Join(words, ", or ")
	}
	return enumerate(words)
}

// admits reports whether v, a setting's field, is allowed. A word is compared without
// regard to case, and v then set to the word as it is spelt in a.
func (a allowed) admits(v reflect.Value) bool {
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			if !a.admits(v.Index(i)) {
				return false
			}
		}
		return true
	}
	for alternative := range strings.SplitSeq(string(a), "|") {
		if v.Kind() == reflect.String {
			if strings.EqualFold(v.String(), alternative) {
				v.SetString(alternative)
				return true
			}
			continue
		}
		low, high, isRange := strings.Cut(alternative, "..")
		if !isRange {
			high = low
		}
		n := v.Convert(reflect.TypeFor[float64]()).Float()
		if n >= bound(low, v.Type()) && (high == "" || n <= bound(high, v.Type())) {
			return true
		}
	}
	return false
}

// bound reads one end of a range, written like the setting's values.
func bound(text string, kind reflect.Type) float64 {
	var n float64
	var err error
	switch kind {
	case reflect.TypeFor[time.Duration]():
		var d time.Duration
		d, err = units.Duration(text)
		n = float64(d)
	case reflect.TypeFor[byteSize]():
		var size byteSize
		err = size.UnmarshalText([]byte(text))
		n = float64(size)
	default:
		n, err = strconv.ParseFloat(text, 64)
	}
	if err != nil {
		panic(fmt.Sprintf("tag allow of a setting: %v", err))
	}
	return n
}
