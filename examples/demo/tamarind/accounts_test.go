package tamarind

import (
	"testing"
	"time"
)

func TestLogIn_AndOut(t *testing.T) {
	d := newBusiness(t)
	in := must[Account](t)(d.LogIn(t.Context(), "ada", "1815"))
	if in.SignedInAt == nil {
		t.Errorf("got %+v", in)
	}
	wantEvents(t, d, 0, "user/ada user.logged_in")
	_, err := d.LogIn(t.Context(), "ada", "1815")
	wantProblem(t, err, 409, "")
	must[Account](t)(d.LogOut(t.Context(), "ada"))
	wantEvents(t, d, 1, "user/ada user.logged_out")
	_, err = d.LogOut(t.Context(), "ada")
	wantProblem(t, err, 409, "")
}

func TestLogIn_ThirdWrongPINLocks(t *testing.T) {
	d := newBusiness(t)
	for n := range 2 {
		account, err := d.LogIn(t.Context(), "cleo", "0000")
		wantProblem(t, err, 401, "pin")
		if account.FailedLogins != n+1 || account.LockedUntil != nil {
			t.Errorf("after %d wrong PINs: %+v", n+1, account)
		}
		wantEvents(t, d, n, "user/cleo user.login_failed")
	}
	account, err := d.LogIn(t.Context(), "cleo", "0000")
	wantProblem(t, err, 423, "")
	if account.LockedUntil == nil || time.Until(*account.LockedUntil) < lockedFor/2 {
		t.Errorf("after the third: %+v", account)
	}
	wantEvents(t, d, 2, "user/cleo account.locked", "reviewers account.locked")

	// Locked is locked: for the right PIN, and for the business.
	_, err = d.LogIn(t.Context(), "cleo", "3141")
	wantProblem(t, err, 423, "")
	_, err = d.Submit(t.Context(), "cleo", Submission{Title: "a"})
	wantProblem(t, err, 423, "")
	wantEvents(t, d, 4)
}

func TestUnlock_EndsLockBeforeItsTime(t *testing.T) {
	d := newBusiness(t)
	_, err := d.Unlock(t.Context(), "rita", "bo")
	wantProblem(t, err, 409, "")
	for range loginTries {
		if _, err := d.LogIn(t.Context(), "bo", "0000"); err == nil {
			t.Fatal("a wrong PIN was taken")
		}
	}
	_, err = d.Unlock(t.Context(), "ada", "bo")
	wantProblem(t, err, 403, "")
	account := must[Account](t)(d.Unlock(t.Context(), "rita", "bo"))
	if account.LockedUntil != nil || account.FailedLogins != 0 || account.By != "rita" {
		t.Errorf("got %+v", account)
	}
	wantEvents(t, d, 4, "user/bo account.unlocked", "reviewers account.unlocked")
	must[Account](t)(d.LogIn(t.Context(), "bo", "2020"))
}

func TestLock_RunsOut(t *testing.T) {
	d := newBusiness(t)
	for range loginTries {
		if _, err := d.LogIn(t.Context(), "bo", "0000"); err == nil {
			t.Fatal("a wrong PIN was taken")
		}
	}
	if _, err := d.pool.Exec(t.Context(), `UPDATE demo_person SET locked_until = now() - interval '1 ms'`); err != nil {
		t.Fatal(err)
	}
	// The count of tries begins again, too.
	account, err := d.LogIn(t.Context(), "bo", "0000")
	wantProblem(t, err, 401, "pin")
	if account.FailedLogins != 1 {
		t.Errorf("got %+v, want the first wrong PIN of a new row", account)
	}
	must[Account](t)(d.LogIn(t.Context(), "bo", "2020"))
}
