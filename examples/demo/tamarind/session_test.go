package tamarind

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/outbox"
)

// cookiesOf are those that a page sets, by path.
func cookiesOf(t *testing.T, b *Business, page string) map[string]*http.Cookie {
	t.Helper()
	response := httptest.NewRecorder()
	b.Handler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, page, nil))
	if response.Code != http.StatusOK {
		t.Fatalf("%s: %d", page, response.Code)
	}
	found := map[string]*http.Cookie{}
	for _, cookie := range response.Result().Cookies() {
		found[cookie.Path] = cookie
	}
	return found
}

// streamOf is a request to a person's stream.
func streamOf(person string, cookie *http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/events", nil)
	if cookie != nil {
		r.AddCookie(cookie)
	}
	return As(r, person)
}

// TestIdentify_SessionsGrantWhatConcernsTheirPerson opens a page with three people, each of
// whom has a session of their own.
func TestIdentify_SessionsGrantWhatConcernsTheirPerson(t *testing.T) {
	b := newBusiness(t)
	cookies := cookiesOf(t, b, "/")
	if len(cookies) != 3 || !cookies["/as/ada"].HttpOnly || cookies["/as/ada"].SameSite != http.SameSiteStrictMode {
		t.Fatalf("cookies %v", cookies)
	}
	ada, err := b.Identify(streamOf("ada", cookies["/as/ada"]))
	if err != nil || ada.Subject != "ada" || ada.Admin || ada.Expires.IsZero() {
		t.Fatalf("%+v, %v", ada, err)
	}
	for _, topic := range topics(b.people["ada"]) {
		if err := ada.MaySubscribe(outbox.Pattern(topic)); err != nil {
			t.Error(err)
		}
	}
	for _, topic := range []outbox.Pattern{"user/bo", "reviewers", "**"} {
		if ada.MaySubscribe(topic) == nil {
			t.Errorf("Ada may follow %s", topic)
		}
	}
	forged := *cookies["/as/ada"]
	forged.Value = "rita" + forged.Value[len("ada"):]
	for what, r := range map[string]*http.Request{
		"without a session":       streamOf("rita", nil),
		"with Ada's session":      streamOf("rita", cookies["/as/ada"]),
		"with a forged session":   streamOf("rita", &forged),
		"with what is no session": streamOf("rita", &http.Cookie{Name: sessionCookie, Value: "rita.1"}),
	} {
		var refused *outcrier.Refusal
		if _, err := b.Identify(r); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			t.Errorf("Rita's stream %s: %v", what, err)
		}
	}
	// A request without a person, from the machine itself, may follow everything, and
	// administer.
	operator, err := b.Identify(httptest.NewRequest(http.MethodGet, "/events", nil))
	if err != nil || operator.MaySubscribe("**") != nil || !operator.Admin {
		t.Errorf("%+v, %v", operator, err)
	}
}

// TestSessions_OutliveARestart has another process on the same tables.
func TestSessions_OutliveARestart(t *testing.T) {
	b := newBusiness(t)
	cookie := cookiesOf(t, b, "/p/tom")["/as/tom"]
	again, err := Open(t.Context(), b.pool, b.log)
	if err != nil {
		t.Fatal(err)
	}
	if tom, err := again.Identify(streamOf("tom", cookie)); err != nil || tom.Subject != "tom" {
		t.Errorf("%+v, %v", tom, err)
	}
}
