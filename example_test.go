package outcrier_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// An application streams its events to its own users, who have its own sessions.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	database, drop, err := outboxtest.Open() // the application's
	if err != nil {
		log.Fatal(err)
	}
	defer drop()

	node, err := outcrier.New(ctx, outcrier.Config{
		DatabaseURL: database,
		Authenticate: func(r *http.Request) (outcrier.Identity, error) {
			user, err := r.Cookie("user") // a real application looks up a session
			if err != nil {
				return outcrier.Identity{}, &outcrier.Refusal{Status: http.StatusUnauthorized, Detail: "sign in first"}
			}
			return outcrier.Identity{Subject: user.Value, Subscribe: []outbox.Pattern{outbox.Pattern("user/" + user.Value)}}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/events", node.Handler())
	server := httptest.NewServer(mux)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := node.Run(ctx); err != nil {
			log.Print(err)
		}
	}()
	defer func() { stop(); <-ended; server.Close() }()

	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `INSERT INTO outbox (topic, type, payload) VALUES ('user/ann', 'order.shipped', '{"order": 7}')`); err != nil {
		log.Fatal(err)
	}

	for _, topic := range []string{"user/bob", "user/ann"} {
		request, err := http.NewRequest(http.MethodGet, server.URL+"/events?format=payload&from=earliest&topic="+topic, nil)
		if err != nil {
			log.Fatal(err)
		}
		request.AddCookie(&http.Cookie{Name: "user", Value: "ann"})
		response, err := server.Client().Do(request)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(topic, response.Status)
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"order"`) {
				fmt.Println(lines.Text())
				break
			}
		}
		response.Body.Close()
	}
	// Output:
	// user/bob 403 Forbidden
	// user/ann 200 OK
	// data: {"order": 7}
}
