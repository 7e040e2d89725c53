package badnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long anything may take; never is how long it is waited for what
// must not come.
const (
	deadline = 10 * time.Second
	never    = 100 * time.Millisecond
)

// echo is a proxy in front of a server that sends back the bytes that it gets.
func echo(t *testing.T) *Proxy {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	p, err := Listen(server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// receive wants text, and nothing else of that length.
func receive(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("received %q, %v, want %q", got[:n], err, text)
	}
}

// silent wants nothing to come, and the connection to stay.
func silent(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(never))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes came, %v, want silence", n, err)
	}
}

// ended fails unless the connection ends, and returns the bytes that came before.
func ended(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	got, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection did not end")
	}
	return got
}

func TestProxy_PassesBothWaysAndTheEnd(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() { _, _ = conn.Write(large) }()
	receive(t, conn, string(large))
	conn.Close()
	for end := time.Now().Add(deadline); p.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is still open behind the proxy")
		}
	}
}

func TestCut_ResetsWhatIsOpenAndNothingElse(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	send(t, conn, "before")
	receive(t, conn, "before")
	if n := p.Cut(); n != 1 {
		t.Errorf("cut %d connections, want 1", n)
	}
	ended(t, conn)
	again := dial(t, p)
	send(t, again, "after")
	receive(t, again, "after")
}

func TestDown_RefusesUntilHeal(t *testing.T) {
	p := echo(t)
	open := dial(t, p)
	send(t, open, "x")
	receive(t, open, "x")
	p.Down()
	ended(t, open)
	if fresh, err := net.Dial("tcp", p.Address()); err == nil { // it may be too fast for Dial
		ended(t, fresh)
		fresh.Close()
	}
	p.Heal()
	conn := dial(t, p)
	send(t, conn, "up")
	receive(t, conn, "up")
}

func TestHold_LosesNothingOnceHealed(t *testing.T) {
	for name, d := range map[string]Direction{"both": Both, "up": Up, "down": Down} {
		t.Run(name, func(t *testing.T) {
			p := echo(t)
			conn := dial(t, p)
			send(t, conn, "a")
			receive(t, conn, "a")
			p.Hold(d)
			send(t, conn, "held")
			silent(t, conn)
			late := dial(t, p) // is accepted, and held too
			send(t, late, "late")
			silent(t, late)
			p.Heal()
			receive(t, conn, "held")
			receive(t, late, "late")
		})
	}
}

func TestHold_CanBeCut(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	send(t, conn, "a")
	receive(t, conn, "a")
	p.Hold(Down)
	send(t, conn, "lost")
	silent(t, conn)
	p.Cut()
	if got := ended(t, conn); len(got) > 0 {
		t.Errorf("%q came through", got)
	}
}

func TestForget_LeavesOnlyOldConnectionsSilent(t *testing.T) {
	p := echo(t)
	old := dial(t, p)
	send(t, old, "a")
	receive(t, old, "a")
	p.Forget()
	send(t, old, "into the void")
	silent(t, old)
	fresh := dial(t, p)
	send(t, fresh, "b")
	receive(t, fresh, "b")
	p.Heal()
	silent(t, old)
	p.Cut()
	if got := ended(t, old); len(got) > 0 {
		t.Errorf("%q came through", got)
	}
}

func TestTruncate_EndsInTheMiddle(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	send(t, conn, "a")
	receive(t, conn, "a")
	p.Truncate(Down, 5)
	send(t, conn, "0123456789")
	if got := ended(t, conn); string(got) != "01234" {
		t.Errorf("%q arrived, want 5 bytes", got)
	}
	fresh := dial(t, p)
	send(t, fresh, "abcdefgh")
	if got := ended(t, fresh); string(got) != "abcde" {
		t.Errorf("%q arrived on a new connection, want 5 bytes", got)
	}
	p.Heal()
	whole := dial(t, p)
	send(t, whole, "0123456789")
	receive(t, whole, "0123456789")
}

func TestDelay_HoldsBackEachPiece(t *testing.T) {
	p := echo(t)
	conn := dial(t, p)
	const by = 30 * time.Millisecond
	p.Delay(by)
	began := time.Now()
	send(t, conn, "slow")
	receive(t, conn, "slow")
	if took := time.Since(began); took < 2*by {
		t.Errorf("there and back took %v, want at least %v", took, 2*by)
	}
}

func TestTo_SendsNewConnectionsElsewhere(t *testing.T) {
	p, other := echo(t), echo(t)
	old := dial(t, p)
	send(t, old, "old")
	receive(t, old, "old")
	p.To(other.Address())
	fresh := dial(t, p)
	send(t, fresh, "new")
	receive(t, fresh, "new")
	if other.Open() != 1 {
		t.Errorf("%d connections came to the other, want the new one", other.Open())
	}
}
