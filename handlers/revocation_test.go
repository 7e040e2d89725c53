package handlers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// revoking is a node that knows of these revocations.
func revoking(t *testing.T, change func(*node)) (*node, *auth.Revocations) {
	r := auth.NewRevocations()
	n := newNode(t, func(n *node) {
		n.access = closedAccess()
		n.access.Revocations = r
		if change != nil {
			change(n)
		}
	})
	return n, r
}

func ptr[T any](value T) *T { return &value }

// bob is a token of another subject than ann's, with an id.
func bob(id string) []string {
	return bearer(must(auth.Mint(tokenKey, auth.Claims{Subject: "bob", ID: id, Subscribe: []outbox.Pattern{"**"}, Publish: []outbox.Pattern{"**"}}, time.Hour)))
}

// A stolen token is withdrawn: its streams end in a moment and say why, and nothing is had
// with it any more. Tokens of others, and those issued later, are good.
func TestRevocation_OfASubjectEndsWhatItHas(t *testing.T) {
	t.Parallel()
	n, r := revoking(t, nil)
	r.Replace(nil)
	stolen := bob("1")
	stream := ssetest.Open(t, n.events("topic=a"), stolen...)
	stream.Until("outcrier.live")
	after := n.position(t)
	poll := make(chan answer, 1)
	go func() {
		poll <- do(t, "GET", n.events("topic=a&wait=20s&after="+after), "", append(stolen, "Accept", "application/json")...)
	}()
	other := ssetest.Open(t, n.events("topic=a/b"), bearer(ann)...)
	other.Until("outcrier.live")
	eventually(t, func() bool { return n.streamer.Stats().Open == 3 })

	r.Replace([]outbox.Revocation{{Sub: ptr("bob"), At: time.Now()}})
	events := stream.End()
	if last := events[len(events)-1]; last.Type != "outcrier.goodbye" || last.Data != `{"reason":"token_revoked"}` {
		t.Errorf("the stream ends with %+v", last)
	}
	(<-poll).wantProblem(t, 401, "was revoked")
	do(t, "GET", n.events("topic=a"), "", stolen...).wantProblem(t, 401, "was revoked")
	do(t, "GET", n.events("topic=a"), "", append(stolen, "Accept", "application/json")...).wantProblem(t, 401, "was revoked")
	n.post(t, `{"topic":"a","type":"t"}`, stolen...).wantProblem(t, 401, "was revoked")
	do(t, "GET", n.url+"/catalogue", "", stolen...).wantProblem(t, 401, "was revoked")
	if a := n.post(t, `{"topic":"a","type":"t"}`, bob("2")...); a.status != 201 {
		t.Errorf("a token that was issued later: %d %s", a.status, a.body)
	}
	n.add(t, "a/b")
	other.Until("test.added")
}

// The client of a WebSocket can bring a new token while its stream is open: what was revoked is
// neither kept nor taken.
func TestRevocation_EndsAWebSocket(t *testing.T) {
	t.Parallel()
	n, r := revoking(t, nil)
	r.Replace([]outbox.Revocation{{JTI: ptr("3"), At: time.Now()}})
	token := func(id string) string { return strings.TrimPrefix(bob(id)[1], "Bearer ") }
	s, renewed := n.socket(t, "topic=a", bob("1")...), n.socket(t, "topic=a", bob("1")...)
	s.until("outcrier.live")
	renewed.until("outcrier.live")
	renewed.say(`{"token":"` + token("3") + `"}`)
	refused, _ := renewed.until("outcrier.error")
	refused.wantError(t, 401, "", "was revoked")
	renewed.until("outcrier.topics")
	renewed.say(`{"token":"` + token("2") + `"}`)
	renewed.until("outcrier.topics")

	r.Replace([]outbox.Revocation{{JTI: ptr("1"), At: time.Now()}})
	if last := s.wantClose(ws.StatusPolicyViolation, "token_revoked"); !strings.Contains(string(last.Event.Data), `"reason":"token_revoked"`) {
		t.Errorf("the last word is %s", last.raw)
	}
	id := n.add(t, "a")
	if m, _ := renewed.until("test.added"); m.Event.ID != id {
		t.Errorf("it is %s, want %s", m.raw, id)
	}
	r.Replace([]outbox.Revocation{{JTI: ptr("2"), At: time.Now()}})
	renewed.wantClose(ws.StatusPolicyViolation, "token_revoked")
}

func TestRevocation_OfOneTokenLeavesTheOthers(t *testing.T) {
	t.Parallel()
	n, r := revoking(t, nil)
	r.Replace([]outbox.Revocation{{JTI: ptr("1"), At: time.Now()}})
	do(t, "GET", n.events("topic=a"), "", bob("1")...).wantProblem(t, 401, "was revoked")
	if a := n.post(t, `{"topic":"a","type":"t"}`, bob("2")...); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := n.post(t, `{"topic":"a","type":"t"}`, bob("")...); a.status != 201 {
		t.Errorf("a token without an id: %d %s", a.status, a.body)
	}
	r.Replace(nil)
	if a := n.post(t, `{"topic":"a","type":"t"}`, bob("1")...); a.status != 201 {
		t.Errorf("taken back: %d %s", a.status, a.body)
	}
}

// An identity without a time of issue can't be distinguished from the stolen one: an
// application's own sessions set Issued.
func TestRevocation_OfSessionsThatDoNotSaySinceWhen(t *testing.T) {
	t.Parallel()
	began := time.Now()
	known := sessions{
		"old":    {Subject: "ann", Subscribe: []outbox.Pattern{"a"}, Issued: began.Add(-time.Minute), Explicit: true},
		"new":    {Subject: "ann", Subscribe: []outbox.Pattern{"a"}, Issued: began.Add(time.Minute), Explicit: true},
		"silent": {Subject: "ann", Subscribe: []outbox.Pattern{"a"}, Explicit: true},
	}
	n, r := revoking(t, func(n *node) { n.access.Authenticate = known.identify })
	r.Replace([]outbox.Revocation{{Sub: ptr("ann"), At: began}})
	for who, want := range map[string]int{"old": 401, "silent": 401, "new": 200} {
		if a := do(t, "GET", n.events("topic=a&wait=0"), "", "Cookie", "session="+who, "Accept", "application/json"); a.status != want {
			t.Errorf("%s: %d %s", who, a.status, a.body)
		}
	}
}

// A node that has not read the revocations yet refuses every request, except for its
// metrics, which say why.
func TestRevocation_NotKnownYetIsNotNone(t *testing.T) {
	t.Parallel()
	n, r := revoking(t, func(n *node) {
		n.metrics = scraped
	})
	waiting := make(chan answer, 2)
	for range cap(waiting) {
		go func() { waiting <- n.post(t, `{"topic":"a","type":"t"}`, bob("1")...) }()
	}
	if events := ssetest.Open(t, n.events("topic=a"), bob("1")...).End(); len(events) != 1 || events[0].Data != `{"reason":"unavailable"}` {
		t.Errorf("a stream is told %+v", events)
	}
	for range cap(waiting) {
		(<-waiting).wantProblem(t, 503, "are not known yet")
	}
	if a := do(t, "GET", n.url+"/metrics", "", granting(auth.GrantMetrics)...); a.status != 200 {
		t.Errorf("metrics: %d %s", a.status, a.body)
	}
	if rows := n.count(t); rows != 0 {
		t.Errorf("%d events were appended", rows)
	}
	if a := do(t, "GET", n.url+"/readyz", ""); a.status != 503 || !strings.Contains(a.body, "the revoked tokens are not known yet") {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
	r.Replace(nil)
	if a := do(t, "GET", n.url+"/readyz", ""); a.status != 200 {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
	if a := n.post(t, `{"topic":"a","type":"t"}`, bob("1")...); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestRevocation_ByAnAdmin(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	const path = "/admin/api/revocations"
	a := n.api(t, "POST", "revocations", `{"sub":"bob","reason":"stolen laptop"}`)
	if a.status != 201 || !strings.Contains(a.body, `"sub":"bob","jti":null,"reason":"stolen laptop","revoked_by":"root"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := n.api(t, "POST", "revocations", `{"jti":"4711","reason":"leaked","until":"2999-01-01T00:00:00Z"}`); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for body, says := range map[string]string{
		`{"reason":"x"}`: "either a subject (sub) or a token's id (jti)", `{"sub":"a","jti":"b","reason":"x"}`: "either",
		`{"sub":"a"}`: "needs a reason", `{"sub":"a","reason":"  "}`: "needs a reason",
		`{"sub":"a","reason":"x","until":"2020-01-01T00:00:00Z"}`: "in the past",
	} {
		n.api(t, "POST", "revocations", body).wantProblem(t, 422, says)
	}
	n.api(t, "POST", "revocations", `{"user":"a"}`).wantProblem(t, 400, "allowed are sub or jti, reason")
	n.api(t, "POST", "revocations", ``).wantProblem(t, 400, "the body is empty")
	do(t, "POST", n.url+path, `{"sub":"a","reason":"x"}`, append(granting(auth.GrantRead), "Content-Type", "application/json")...).wantProblem(t, 403, "operate")

	list, err := outbox.Revocations(t.Context(), n.pool, outbox.DefaultSchema)
	if err != nil || len(list) != 2 || *list[0].Sub != "bob" || *list[1].JTI != "4711" || list[0].By != "root" || time.Since(list[0].At).Abs() > time.Minute {
		t.Errorf("%+v: %v", list, err)
	}
	page := answered[struct {
		Revocations []outbox.Revocation
		More        bool
	}](t, n, "revocations")
	if len(page.Revocations) != 2 || page.More || *page.Revocations[0].JTI != "4711" {
		t.Errorf("%+v", page)
	}
	if page := n.api(t, "GET", "revocations?before="+"1", ""); page.status != 200 || !strings.Contains(page.body, `"revocations":[]`) {
		t.Errorf("%d %s", page.status, page.body)
	}
}
