package client_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/client"
)

// TestScript_IsSmall measures what a browser loads.
func TestScript_IsSmall(t *testing.T) {
	const most = 4 << 10
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(client.Script())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, gzipped %d", len(client.Script()), zipped.Len())
	if zipped.Len() >= most {
		t.Errorf("the module has %d bytes gzipped, want less than %d", zipped.Len(), most)
	}
}

// TestModule runs the module's own tests under node: those of the source, and again
// with what nodes serve.
func TestModule(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI is set, but node is not installed")
		}
		t.Skip("node is not installed")
	}
	dir := t.TempDir()
	err = os.CopyFS(dir, os.DirFS("."))
	if err == nil {
		err = os.WriteFile(dir+"/outcrier.js", client.Script(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{"source": ".", "served": dir} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), node, "--test", "--test-force-exit", "--test-reporter=spec", "outcrier.test.js", "tabs.test.js")
			command.Dir = in
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestReasons_AreTheSameInBoth holds the document's reasons to those of the types.
func TestReasons_AreTheSameInBoth(t *testing.T) {
	document, err := os.ReadFile("../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	const types = `(?s)Why, of .waiting., .offline. and .closed.: (.*?)\*/\s*reason\?`
	told, held := reasons(t, types, client.Types), reasons(t, `(?s)\nReasons: (.*?)\n\n`, document)
	if !slices.Equal(told, held) {
		t.Errorf("the types have the reasons\n%q, the document has\n%q", told, held)
	}
}

// reasons are the names in what an expression finds, sorted, without the fields.
func reasons(t *testing.T, expression string, text []byte) (names []string) {
	t.Helper()
	found := regexp.MustCompile(expression).FindSubmatch(text)
	if found == nil {
		t.Fatalf("nothing is like %s", expression)
	}
	for _, name := range regexp.MustCompile("`(\\w+)`").FindAllSubmatch(found[1], -1) {
		if name := string(name[1]); name != "status" && name != "detail" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
