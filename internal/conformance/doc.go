// Package conformance plays scenes to clients of Server-Sent Events: a server that
// crashes, connections that break in the middle of an event, payloads that no parser
// expects. Each scene says what a client has to see, and the verdict is in events: none
// lost, none twice, in order.
//
// The scenes need nothing of the server but a URL and a way to append an event, so they
// can be played on any server:
//
//	go run ./internal/conformance/play -h
//
// The clients are programs in the folder clients, a few lines each, as the README of each
// library has them. They print the events that they receive, one JSON object a line. A
// client is any program that does so:
//
//	{"id":"1042.AQeGjAMBgIsD","type":"message","data":"{\"conformance\":7}"}
//
// What this server shows to each of them is in CLIENTS.md, and by WebSocket in SOCKETS.md.
package conformance
