package tamarind

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sqlOf(t *testing.T, b *Business, id int64) (statements []string, status int) {
	t.Helper()
	response := httptest.NewRecorder()
	b.Handler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/api/demo/sql/%d", id), nil))
	var answer SQL
	if err := json.Unmarshal(response.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%v: %s", err, response.Body)
	}
	return answer.Statements, response.Code
}

// TestSQL_IsThatOfTheTransactionThatAppended pastes the SQL that is shown into another
// transaction, which does the same.
func TestSQL_IsThatOfTheTransactionThatAppended(t *testing.T) {
	b := newBusiness(t)
	quantity := 3
	if _, err := b.Submit(t.Context(), "ada", Submission{Title: "Ada's $1 blend", Quantity: &quantity}); err != nil {
		t.Fatal(err)
	}
	list := events(t, b.pool)
	statements, status := sqlOf(t, b, list[0].ID)
	if status != http.StatusOK || len(statements) != 3 {
		t.Fatalf("%d: %q", status, statements)
	}
	if other, _ := sqlOf(t, b, list[1].ID); !cmp.Equal(other, statements) {
		t.Errorf("the second event has other SQL than the first: %q", other)
	}
	for _, part := range []string{"INSERT INTO demo_item AS i", "'Ada''s $1 blend'", "INSERT INTO outbox (topic, type, payload, source) VALUES\n  ('user/ada', 'audit.submitted'"} {
		if !strings.Contains(strings.Join(statements, ";\n"), part) {
			t.Errorf("%q lacks %q", statements, part)
		}
	}
	if _, err := b.pool.Exec(t.Context(), "BEGIN;"+strings.Join(statements, ";")+"; COMMIT"); err != nil {
		t.Fatalf("%v: %q", err, statements)
	}
	if again := events(t, b.pool); len(again) != 4 || again[2].Topic != list[0].Topic || again[3].Type != list[1].Type {
		t.Errorf("pasted, it appends %v", again)
	}
}

func TestSQL_OfWhatIsScheduledCancelledOrRefused(t *testing.T) {
	b := newBusiness(t)
	m, err := b.Announce(t.Context(), "rita", Window{StartsIn: 3600, Lasts: 60})
	if err != nil {
		t.Fatal(err)
	}
	statements, _ := sqlOf(t, b, events(t, b.pool)[0].ID)
	if text := strings.Join(statements, ";\n"); !strings.Contains(text, "source, deliver_at) VALUES") || !strings.Contains(text, ", NULL)") || !strings.Contains(text, "SET scheduled = '{") {
		t.Errorf("%s", text)
	}
	for i, statement := range statements {
		// Each is one that Postgres takes.
		if _, err := b.pool.Exec(t.Context(), "BEGIN; "+statement+"; ROLLBACK"); err != nil {
			t.Errorf("statement %d: %v: %s", i, err, statement)
		}
	}
	if _, err := b.Cancel(t.Context(), "rita", m.ID); err != nil {
		t.Fatal(err)
	}
	if _, status := sqlOf(t, b, 999_999); status != http.StatusNotFound {
		t.Errorf("an event of elsewhere: %d", status)
	}
}

func TestRecent_ForgetsTheOldest(t *testing.T) {
	var r recent
	for id := range int64(recentMax + 10) {
		r.keep(&recorder{events: []int64{id}, statements: []string{"SELECT 1"}})
	}
	if len(r.of) != recentMax || len(r.order) != recentMax {
		t.Errorf("%d are remembered", len(r.of))
	}
	if _, there := r.statements(9); there {
		t.Error("the oldest is there")
	}
	if _, there := r.statements(recentMax + 9); !there {
		t.Error("the newest is not")
	}
}
