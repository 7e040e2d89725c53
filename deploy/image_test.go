package deploy

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// binary is the image's: the Dockerfile builds it as testkit does.
func binary(t *testing.T) string {
	t.Helper()
	path := testkit.PlainCommand(t, "cmd/outcrier")
	line := regexp.MustCompile(`(?m)^RUN (.*) go build -trimpath -ldflags='-s -w' -o /outcrier \./cmd/outcrier$`).FindStringSubmatch(read(t, "../Dockerfile"))
	if line == nil {
		t.Fatal("the Dockerfile has no line that builds")
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name, value, _ := strings.Cut(line[1], "=")
	for _, want := range []debug.BuildSetting{{Key: name, Value: value}, {Key: "-trimpath", Value: "true"}} {
		if !slices.Contains(info.Settings, want) {
			t.Fatalf("the Dockerfile builds with %s=%s, testkit with %v", want.Key, want.Value, info.Settings)
		}
	}
	return path
}

func TestImage_BinaryIsStatic(t *testing.T) {
	file, err := elf.Open(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if file.Section(".symtab") != nil || file.Section(".debug_info") != nil || file.Section(".zdebug_info") != nil {
		t.Error("it has what a debugger needs, which -ldflags='-s -w' leaves out")
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a segment %v", segment.Type)
		}
	}
	info, err := os.Stat(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	const most = 64 << 20
	if info.Size() > most {
		t.Errorf("it has %d bytes, want at most %d", info.Size(), most)
	}
	t.Logf("%d bytes", info.Size())
}

// TestImage_HoldsAllThatTheServerNeeds serves, as the image's user, from a root that
// has what the image has.
func TestImage_HoldsAllThatTheServerNeeds(t *testing.T) {
	if os.Getuid() != 0 {
		testkit.Missing(t, "only root may chroot")
	}
	dockerfile := read(t, "../Dockerfile")
	_, final, _ := strings.Cut(dockerfile, "\nFROM scratch\n")
	root, err := os.MkdirTemp("/tmp", "outcrier-root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	copies := regexp.MustCompile(`(?m)^COPY --from=binary (\S+) (\S+)$`).FindAllStringSubmatch(final, -1)
	if len(copies) != 2 {
		t.Fatalf("the image gets %q", copies)
	}
	for _, file := range copies {
		from := file[1]
		if from == "/outcrier" {
			from = binary(t)
		}
		to := filepath.Join(root, file[2])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(read(t, from)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(final)
	if user == nil || user[1] == "0" {
		t.Fatalf("the user is %q", user)
	}
	var id uint32
	if _, err := fmt.Sscan(user[1], &id); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(final, `HEALTHCHECK`) || !strings.Contains(final, `CMD ["/outcrier", "health"]`) {
		t.Error("the image has no check of health")
	}

	listen := testkit.FreeAddress(t)
	// inside runs the binary as a container of the image would.
	inside := func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "/outcrier", args...)
		cmd.Dir = "/"
		cmd.Env = []string{
			"DATABASE_URL=" + outboxtest.URL(t), "OUTCRIER_LISTEN=" + listen,
			"OUTCRIER_JWT_SECRET=0123456789abcdef0123456789abcdef", "TZ=Asia/Kathmandu",
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: id, Gid: id}}
		return cmd
	}
	server := inside(context.Background(), "serve")
	var log bytes.Buffer
	server.Stderr = io.MultiWriter(t.Output(), &log)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	testkit.Eventually(t, "the server is healthy", func() bool {
		out, err := inside(t.Context(), "health").CombinedOutput()
		return err == nil && string(out) == "ok\n"
	})
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if !strings.Contains(log.String(), "+05:45 ") {
		t.Errorf("TZ is not heeded: %s", log.String())
	}
	if out, err := inside(t.Context(), "health").CombinedOutput(); err == nil {
		t.Errorf("without a server health says %s", out)
	}
}
