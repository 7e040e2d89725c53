// Package wire writes events as bytes. It holds no connection, no queue and no position of
// its own: the caller appends to a stream's buffer with the stream's [Encoder], and sends the
// bytes that [Framed] returns.
//
// A [Frame] is an event in wire form, encoded once a [Format] for all streams that it goes
// to. The encoders write frames in different forms:
//
//	plain       Server-Sent Events (HTML Standard, 9.2)
//	compressed  the same in gzip: each frame is compressed on its own, and shared
//	batches     the events of a window as one JSON array, under the position after the last
//	messages    the messages of a WebSocket (RFC 6455)
//
// The server's own events, which are in no frame, are a [Notice], a [Goodbye] or a heartbeat.
//
// Position is the last field of an event in every form: a client that was cut off in the
// middle of an event has not committed its id.
package wire
