package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestMark_IsReadBackFromAPayloadOfTheSize(t *testing.T) {
	for _, m := range []mark{{}, {0, 1, 0}, {249, 999_999_999_999, 400 * 24 * time.Hour}} {
		for _, size := range []int{leastPayload, 200, 65536} {
			payload := m.payload(size)
			if len(payload) != size || !json.Valid([]byte(payload)) {
				t.Errorf("%d bytes, want %d of JSON: %.120s", len(payload), size, payload)
			}
			for _, data := range []string{payload, `{"specversion":"1.0","topic":"a","data":` + payload + `}`} {
				if got, ok := parseMark([]byte(data)); !ok || got != m {
					t.Errorf("read back %+v, %v, want %+v", got, ok, m)
				}
			}
		}
	}
}

func TestMark_IsNotFoundInOtherData(t *testing.T) {
	for _, data := range []string{"", "{}", `{"w":`, `{"w":1`, `{"w":1,"n":}`, `{"w":,"n":1,"t":0,`, `{"w":1,"n":2,"t":3`, `{"w":-1,"n":2,"t":3,`} {
		if m, ok := parseMark([]byte(data)); ok {
			t.Errorf("%q is read as %+v", data, m)
		}
	}
}

func TestMark_InSQLIsTheSame(t *testing.T) {
	pool := outboxtest.New(t)
	for _, n := range []int64{1, 123_456} {
		var got string
		if err := pool.QueryRow(t.Context(), `SELECT `+markSQL+`::text FROM (SELECT $2::bigint AS n) AS s`, 200, n).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want := (mark{number: n}).payload(200); got != want {
			t.Errorf("SQL makes %s\nwant      %s", got, want)
		}
	}
}
