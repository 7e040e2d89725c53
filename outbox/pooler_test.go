package outbox_test

import (
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pooler is a transaction pooler as bad as one may be: each transaction is run by
// another of its sessions, in no order, and no setting that a client brings is kept.
type pooler struct {
	t      *testing.T
	listen net.Listener
	// refuses has it refuse a connection that brings settings, instead of saying nothing.
	refuses bool
	idle    chan *pgconn.HijackedConn
	group   sync.WaitGroup
}

// pooled returns a URL that leads to the database through a pooler.
func pooled(t *testing.T, database string, refuses bool) (through string, p *pooler) {
	t.Helper()
	const sessions = 4
	listen, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &pooler{t: t, listen: listen, refuses: refuses, idle: make(chan *pgconn.HijackedConn, sessions)}
	for range sessions {
		conn, err := pgconn.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		session, err := conn.Hijack()
		if err != nil {
			t.Fatal(err)
		}
		p.idle <- session
	}
	p.group.Go(p.accept)
	t.Cleanup(func() {
		listen.Close()
		p.group.Wait()
		for range sessions {
			(<-p.idle).Conn.Close()
		}
	})
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = listen.Addr().String()
	return u.String(), p
}

func (p *pooler) accept() {
	for {
		conn, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() {
			defer conn.Close()
			p.serve(pgproto3.NewBackend(conn, conn), conn)
		})
	}
}

// take takes any session that is idle, not the one that was used last.
func (p *pooler) take() *pgconn.HijackedConn {
	sessions := []*pgconn.HijackedConn{<-p.idle}
	for more := true; more; {
		select {
		case s := <-p.idle:
			sessions = append(sessions, s)
		default:
			more = false
		}
	}
	i := rand.IntN(len(sessions))
	for _, other := range slices.Delete(slices.Clone(sessions), i, i+1) {
		p.idle <- other
	}
	return sessions[i]
}

func (p *pooler) serve(client *pgproto3.Backend, conn net.Conn) {
	if !p.welcome(client, conn) {
		return
	}
	for {
		message, err := client.Receive()
		if err != nil {
			return
		}
		if _, ends := message.(*pgproto3.Terminate); ends {
			return
		}
		session := p.take()
		whole := p.transaction(client, session, message)
		p.idle <- session
		if !whole {
			return
		}
	}
}

func (p *pooler) welcome(client *pgproto3.Backend, conn net.Conn) bool {
	for {
		message, err := client.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		startup, ok := message.(*pgproto3.StartupMessage)
		if !ok { // TLS or GSS
			if _, err := conn.Write([]byte("N")); err != nil {
				return false
			}
			continue
		}
		for name := range startup.Parameters {
			if p.refuses && !slices.Contains([]string{"user", "database", "application_name", "client_encoding"}, name) {
				client.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name})
				_ = client.Flush()
				return false
			}
		}
		client.Send(&pgproto3.AuthenticationOk{})
		for name, value := range map[string]string{"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"} {
			client.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
		}
		client.Send(&pgproto3.BackendKeyData{ProcessID: rand.Uint32(), SecretKey: []byte("none")})
		client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return client.Flush() == nil
	}
}

// transaction runs one in a session, which it leaves idle, and returns false when
// the client is gone.
func (p *pooler) transaction(client *pgproto3.Backend, session *pgconn.HijackedConn, message pgproto3.FrontendMessage) (whole bool) {
	server, here := session.Frontend, true
	for {
		server.Send(message)
		switch message.(type) {
		case *pgproto3.Query, *pgproto3.Sync:
			if err := server.Flush(); err != nil {
				return false
			}
			status, ok := p.answer(client, server, here)
			here = here && ok
			if status == 'I' || status == 0 {
				return here
			}
			if !here { // in the midst of a transaction
				message = &pgproto3.Query{String: "ROLLBACK"}
				continue
			}
		}
		next, err := client.Receive()
		if _, ends := next.(*pgproto3.Terminate); ends || err != nil {
			here, next = false, &pgproto3.Sync{} // the session stays: it is not the client's
		}
		message = next
	}
}

// answer hands on what the server says, until it is ready again.
func (p *pooler) answer(client *pgproto3.Backend, server *pgproto3.Frontend, here bool) (status byte, ok bool) {
	for {
		message, err := server.Receive()
		if err != nil {
			return 0, false
		}
		client.Send(message)
		if ready, is := message.(*pgproto3.ReadyForQuery); is {
			return ready.TxStatus, !here || client.Flush() == nil
		}
		if here && client.Flush() != nil {
			here = false
		}
	}
}

// sessions asks each session of the pooler, while none is in use.
func (p *pooler) sessions(ask string) (answers []string) {
	p.t.Helper()
	var held []*pgconn.HijackedConn
	for range cap(p.idle) {
		held = append(held, <-p.idle)
	}
	defer func() { // also after a failure: the end waits for all
		for _, s := range held {
			p.idle <- s
		}
	}()
	for _, s := range held {
		s.Frontend.Send(&pgproto3.Query{String: ask})
		if err := s.Frontend.Flush(); err != nil {
			p.t.Fatal(err)
		}
		for done := false; !done; {
			message, err := s.Frontend.Receive()
			if err != nil {
				p.t.Fatal(err)
			}
			switch m := message.(type) {
			case *pgproto3.DataRow:
				answers = append(answers, string(m.Values[0]))
			case *pgproto3.ErrorResponse:
				p.t.Fatal(m.Message)
			case *pgproto3.ReadyForQuery:
				done = true
			}
		}
	}
	return answers
}
