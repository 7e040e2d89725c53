package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outcrier/outcrier/outbox"
)

// BenchmarkDelivery encodes the same events and sends them to all streams in three ways, in
// turns: as SSE that has the id first and is not chunked ("before"), as SSE is, and as messages
// of a WebSocket. It reports the CPU of the sending thread, in user and kernel, since that
// hardly depends on what else a machine does: s per million deliveries, the median of all rounds
// and half of the range between the quartiles. The first round does not count.
//
//	go test ./sse/wire -run '^$' -bench Delivery -benchtime 201x
func BenchmarkDelivery(b *testing.B) {
	for _, streams := range []int{1000, 10_000} {
		for name, events := range map[string]int{"one-event": 1, "flat-out": 0} {
			b.Run(fmt.Sprintf("%d/%s", streams, name), func(b *testing.B) { deliver(b, streams, events) })
		}
	}
}

// deliver sends so many events at a time to each stream, or as many as are written at once.
func deliver(b *testing.B, streams, events int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sockets := openSockets(b, streams)
	sse, _ := NewEncoder(Encoding{Format: CloudEvents, Keys: testKeys})
	socket, _ := NewEncoder(Encoding{Format: CloudEvents, Keys: testKeys, Ping: func() ([]byte, bool) { return nil, false }})
	ways := []func(dst []byte, frames []*Frame) []byte{
		idFirst,
		func(dst []byte, frames []*Frame) []byte { return Framed(encode(sse, dst, frames), true, false) },
		func(dst []byte, frames []*Frame) []byte { return Framed(encode(socket, dst, frames), false, false) },
	}
	if events == 0 {
		events = WriteBytes / len(idFirst(nil, newFrames(1)))
	}
	cpu := make([][]float64, len(ways)) // s per million deliveries, by round
	rounds := 0
	round := func() {
		rounds++
		for i := range ways {
			way := (rounds + i) % len(ways) // none is always the first
			took := sockets.send(b, ways[way], newFrames(events))
			cpu[way] = append(cpu[way], took.Seconds()/float64(streams*events)*1e6)
		}
	}
	round()
	clear(cpu)
	for b.Loop() {
		round()
	}
	b.ReportMetric(0, "ns/op") // of three ways together it says nothing
	before := quantile(cpu[0], 0.5)
	for way, name := range []string{"before", "sse", "websocket"} {
		median := quantile(cpu[way], 0.5)
		b.ReportMetric(median, name+"-s/M")
		b.ReportMetric((quantile(cpu[way], 0.75)-quantile(cpu[way], 0.25))/2/median*100, name+"-±%")
		if way > 0 {
			b.ReportMetric(median/before, name+"/before")
		}
	}
}

func quantile(values []float64, at float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[int(at*float64(len(values)-1)+0.5)]
}

// newFrames returns frames that nobody has encoded yet.
func newFrames(n int) []*Frame {
	payload := json.RawMessage(`{"n":"` + strings.Repeat("p", 192) + `"}`)
	frames := make([]*Frame, n)
	for i := range frames {
		e := &outbox.Event{ID: 1234567 + int64(i), XID: 7654321, Topic: "user/42", Type: "audit.approved", Source: "/audit", Payload: payload, CreatedAt: epoch}
		frames[i] = &Frame{Event: e, Read: &Read{To: after(*e), Keys: testKeys}, Last: true}
	}
	return frames
}

func encode(encoder Encoder, dst []byte, frames []*Frame) []byte {
	for _, f := range frames {
		dst = encoder.Frame(dst, f)
	}
	return dst
}

// idFirst is how a stream without chunks is written whose events have the id as first field.
// Frames are encoded once here too, and looked up in the same way.
func idFirst(dst []byte, frames []*Frame) []byte {
	for _, f := range frames {
		place := &f.encoded[CloudEvents.place()]
		if place.Load() == nil {
			text := append(make([]byte, 0, 448+len(f.Event.Payload)), "id: "...)
			text = append(f.Read.Keys.Append(text, f.Position()), '\n')
			place.Store(&encoded{wire: slices.Clip(append(appendHead(text, f.Event, CloudEvents), '\n')), key: f.Read.Keys.Used()})
		}
		dst = append(dst, f.within(CloudEvents, 0).wire...)
	}
	return dst
}

// sockets are the ends of TCP connections on this machine. Each end is a stream, and what is
// sent to it arrives at the other.
type sockets []int

func openSockets(b *testing.B, n int) (all sockets) {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	check(err)
	defer unix.Close(listener)
	check(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(unix.Listen(listener, 16))
	address, err := unix.Getsockname(listener)
	check(err)
	b.Cleanup(func() {
		for _, socket := range all {
			unix.Close(socket)
		}
	})
	for len(all) < n {
		here, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		check(err)
		all = append(all, here)
		check(unix.Connect(here, address))
		there, _, err := unix.Accept(listener)
		check(err)
		all = append(all, there)
		check(unix.SetsockoptInt(here, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		check(unix.SetsockoptInt(there, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	return all
}

// send sends frames to all, and returns the CPU that it took. What was sent is read again,
// by a few streams at a time, which does not count.
func (all sockets) send(b *testing.B, way func([]byte, []*Frame) []byte, frames []*Frame) (took time.Duration) {
	var text []byte
	var buf, read [WriteBytes + 4<<10]byte
	for some := range slices.Chunk(all, 100) {
		before := ownCPU(b)
		for _, socket := range some {
			text = way(buf[:0], frames)
			if n, err := unix.SendmsgN(socket, text, nil, nil, unix.MSG_DONTWAIT); err != nil || n < len(text) {
				b.Fatalf("%d of %d bytes were sent: %v", n, len(text), err)
			}
		}
		took += ownCPU(b) - before
		for _, socket := range some {
			for left := len(text); left > 0; {
				n, err := unix.Read(socket, read[:])
				if err != nil || n == 0 || !bytes.Equal(read[:n], text[len(text)-left:][:n]) {
					b.Fatalf("read %d bytes: %v", n, err)
				}
				left -= n
			}
		}
	}
	return took
}

// ownCPU returns the CPU time of this thread, in user and kernel.
func ownCPU(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
