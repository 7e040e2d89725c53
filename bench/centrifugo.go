package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// centrifugoSQL is the outbox of Centrifugo's PostgreSQL consumer, with the trigger that
// its documentation gives for prompt delivery ("PostgreSQL outbox consumer"). The payload
// is json, not jsonb, so that the bench's mark stays as it was written.
const centrifugoSQL = `
CREATE TABLE scratch.centrifugo (
	id         bigserial   PRIMARY KEY,
	method     text        NOT NULL,
	payload    json        NOT NULL,
	partition  integer     NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION scratch.centrifugo_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('scratch_centrifugo', NEW.partition::text);
	RETURN NEW;
END
$$;
CREATE TRIGGER notify AFTER INSERT ON scratch.centrifugo FOR EACH ROW EXECUTE FUNCTION scratch.centrifugo_notify()`

// centrifugoInsert publishes the payload $2 on the channel $1. It is written as an
// application would, who has the whole command as one value.
const centrifugoInsert = `INSERT INTO scratch.centrifugo (method, payload) VALUES ('publish', ('{"channel":"' || $1 || '","data":' || $2 || '}')::json)`

// startCentrifugo starts Centrifugo (the program at b.Centrifugo) with an outbox of its
// own in the scratch schema. The caller stops it.
func (b *bench) startCentrifugo(ctx context.Context) (stop func() error, from *endpoint, err error) {
	if _, err := b.target.admin.Exec(ctx, strings.ReplaceAll(centrifugoSQL, "scratch", b.schema())); err != nil {
		return nil, nil, fmt.Errorf("make Centrifugo's outbox: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		return nil, nil, err
	}
	folder, err := os.MkdirTemp("", "outcrier-bench-")
	if err != nil {
		return nil, nil, err
	}
	type object = map[string]any
	config, err := json.Marshal(object{
		"http_server": object{"address": host, "port": port},
		"log":         object{"level": "error"},
		"client":      object{"insecure": true},
		"uni_sse":     object{"enabled": true},
		"health":      object{"enabled": true},
		"consumers": []object{{"enabled": true, "name": "outbox", "type": "postgresql", "postgresql": object{
			"dsn": b.target.database, "outbox_table_name": b.schema() + ".centrifugo",
			"partition_notification_channel": b.schema() + "_centrifugo",
		}}},
	})
	path := filepath.Join(folder, "config.json")
	if err == nil {
		err = os.WriteFile(path, config, 0o600)
	}
	cmd := exec.Command(b.Centrifugo, "--config", path) //nolint:gosec,noctx // the program is the caller's, and stopped in good order
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = apart()
	started, ended := make(chan error, 1), make(chan error, 1)
	if err == nil {
		go func() {
			runtime.LockOSThread() // the child is ended with the thread that started it
			err := cmd.Start()
			started <- err
			if err == nil {
				ended <- cmd.Wait()
			}
		}()
		err = <-started
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start Centrifugo: %w", err), os.RemoveAll(folder))
	}
	stop = func() error {
		err := cmd.Process.Signal(os.Interrupt)
		<-ended //nolint:errcheck // by the signal
		return errors.Join(err, os.RemoveAll(folder))
	}
	from, err = newEndpoint("http://"+net.JoinHostPort(host, port), "", "")
	if err == nil {
		from.centrifugo = true
		err = answers(ctx, from.base.String()+"/health")
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return stop, from, nil
}

// answers waits until a URL answers with 200.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("%s does not answer after %v", url, startLimit))
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
