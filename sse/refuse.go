package sse

import "time"

// Refuse is the whole stream of a reader who is given none: why, and when to come
// back, on average.
func Refuse(why *Goodbye, retry time.Duration) []byte {
	return appendGoodbye([]byte(firstLine), why, retry)
}
