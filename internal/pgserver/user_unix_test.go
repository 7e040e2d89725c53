//go:build unix

package pgserver

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"testing"
)

func TestStart_RunsAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("every test of this run does")
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	nobody, err := newAccount(u)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder(t), "pgserver.test") // go test builds where only root may go
	if out, err := exec.Command("cp", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("copy the test: %v: %s", err, out)
	}
	test := exec.Command(program, "-test.v", "-test.run", "^(TestStart_AnswersQuery|TestKill_RestartRecoversCommittedRows)$")
	test.Dir = "/"
	test.Env = []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH"), binEnv + "=" + os.Getenv(binEnv)}
	test.SysProcAttr = &syscall.SysProcAttr{Credential: nobody.id}
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("tests as nobody: %v\n%s", err, out)
	}
}

func TestStart_SaysWhichFolderIsClosed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root hands over to another user")
	}
	closed := filepath.Join(folder(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Data: filepath.Join(closed, "deep", "data")})
	wantError(t, err, "may not enter "+closed+":", "refuses root")
}
