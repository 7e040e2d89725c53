package client_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/outcrier/outcrier/client"
	"github.com/outcrier/outcrier/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(8)
	m.Run()
}

var update = flag.Bool("update", false, "write client.js and what it loads anew")

// inner are names of properties that are the module's own: none of them is one of the
// browser's, of what a page sees, of what tabs tell each other, or exported by a part.
const inner = "^(address|advance|alter|arrive|ask|asked|backoff|bearer|beat|begin|changed|check|current|checkSilence|deliver|emit|end|expect|expire|fail|failed|final|flows|hear|isOver|keep|kept|line|link|leave|load|longest|methods|next|online|onRefusal|open|pause|probe|refuse|renew|reportGap|requests|reset|restart|run|save|setRetry|sleep|soon|start|stop|subscriber|succeed|take|tell|tick|turn|wake|wants)$"

// served returns the files that nodes serve, as small as they can be.
func served(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for name, source := range map[string]string{"client": "src/outcrier.js", "client.all": "src/all.js"} {
		result := api.Build(api.BuildOptions{
			EntryPointsAdvanced: []api.EntryPoint{{InputPath: source, OutputPath: name}}, Outdir: "/", ChunkNames: "client/[name]-[hash]",
			Bundle: true, Splitting: name == "client", Format: api.FormatESModule, Target: api.ES2022, Charset: api.CharsetUTF8,
			MangleProps: inner, MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, LegalComments: api.LegalCommentsNone,
			Banner: map[string]string{"js": "// Outcrier, Apache-2.0"},
		})
		for _, message := range append(result.Errors, result.Warnings...) {
			t.Errorf("%s: %+v", message.Text, message.Location)
		}
		for _, file := range result.OutputFiles {
			files[strings.TrimPrefix(filepath.ToSlash(file.Path), "/")] = file.Contents
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return files
}

// TestScript_IsMadeOfTheSource compares the committed files with those that the source gives. The
// only other parts are those that a released version loads: pages that were loaded before a
// node's upgrade ask for them after it.
func TestScript_IsMadeOfTheSource(t *testing.T) {
	made := served(t)
	listed, err := os.ReadFile("released.txt")
	if err != nil {
		t.Fatal(err)
	}
	released := strings.Fields(string(listed))
	if *update {
		for name := range client.Parts() {
			if !slices.Contains(released, name) {
				if err := os.Remove("client/" + name); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, content := range made {
			if err := os.WriteFile(name, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	held := map[string][]byte{"client.js": client.Script, "client.all.js": client.Whole}
	for name, content := range client.Parts() {
		held["client/"+name] = content
	}
	for name, content := range made {
		if !bytes.Equal(held[name], content) {
			t.Errorf("%s is not what src gives: go generate ./client", name)
		}
	}
	for _, name := range released {
		if held["client/"+name] == nil {
			t.Errorf("client/%s is gone, which a released version loads", name)
		}
	}
	for name := range held {
		if made[name] == nil && !slices.Contains(released, strings.TrimPrefix(name, "client/")) {
			t.Errorf("%s is not of src: go generate ./client", name)
		}
	}
}

// TestScript_IsSmall measures what a browser loads: at first, for a stream in one tab, and
// when more is needed.
func TestScript_IsSmall(t *testing.T) {
	sizes, all := map[string]int{}, 0
	for name, content := range served(t) {
		var zipped bytes.Buffer
		w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		if err == nil {
			_, err = w.Write(content)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(name, "client/"), "-") // without the hash
		sizes[kind] = zipped.Len()
		t.Logf("%s: %d bytes, gzipped %d", name, len(content), zipped.Len())
		if name != "client.all.js" {
			all += zipped.Len()
		}
	}
	for kind, most := range map[string]int{"client.js": 3600, "client.all.js": 7350} {
		if got := sizes[kind]; got == 0 || got > most {
			t.Errorf("%s has %d bytes gzipped, want at most %d", kind, got, most)
		}
	}
	document, err := os.ReadFile("../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, row := range map[string]string{
		"client.js": "the core", "changes": "topics that change", "tabs": "tabs", "transports": "WebSocket, long polls", "memory": "the kept position",
		"tokens": "tokens of a function", "client.all.js": "all of it in one file",
	} {
		found := regexp.MustCompile(`(?m)^\| ` + row + `[^|]*\| ([\d,]+) \|`).FindSubmatch(document)
		if found == nil {
			t.Errorf("docs/client.md does not say how large %s is", row)
			continue
		}
		// Another version of Go may compress a little more or less.
		said, err := strconv.Atoi(strings.ReplaceAll(string(found[1]), ",", ""))
		if err != nil || said < sizes[kind]*99/100 || said > sizes[kind]*101/100 {
			t.Errorf("docs/client.md says that %s has %s bytes; it has %d", row, found[1], sizes[kind])
		}
	}
	t.Logf("all of them: gzipped %d", all)
}

// tests are the module's own, under node.
var tests = []string{"outcrier.test.js", "tabs.test.js", "held.test.js", "websocket.test.js"}

// TestModule runs the module's own tests under node: those of the source, and again
// with what nodes serve.
func TestModule(t *testing.T) {
	t.Parallel()
	node := testkit.Program(t, "node")
	for name, module := range map[string]string{"source": "../src/outcrier.js", "served": "../client.js", "served whole": "../client.all.js"} {
		for _, file := range tests {
			t.Run(name+"/"+file, func(t *testing.T) {
				t.Parallel()
				if file == "websocket.test.js" {
					packages(t)
				}
				command := exec.CommandContext(t.Context(), node, "--test-force-exit", "--test-reporter=spec", "test/"+file)
				command.Env = append(os.Environ(), "OUTCRIER_MODULE="+module)
				if out, err := command.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// packages makes sure that npm has installed those of package-lock.json.
func packages(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("node_modules/.package-lock.json"); err != nil {
		testkit.Missing(t, "there are no packages (make packages): %v", err)
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

// TestPages runs the hooks for React, Vue and Svelte and the fake streams under Vitest and
// Jest, whose pages lack much of what a browser has.
func TestPages(t *testing.T) {
	testkit.Program(t, "node")
	packages(t)
	for name, args := range map[string][]string{
		"Vitest": {"node_modules/.bin/vitest", "run", "--pool=threads", "--root", "test/pages"},
		"Jest":   {"node_modules/.bin/jest", "--config", "test/pages/jest.config.js"},
	} {
		t.Run(name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), args[0], args[1:]...)
			command.Env = append(os.Environ(), "NODE_OPTIONS=--experimental-vm-modules")
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestRuntimes_FollowAStream follows a stream that breaks off, in runtimes without a page.
func TestRuntimes_FollowAStream(t *testing.T) {
	t.Parallel()
	block := func(kind, data string, n int) string {
		return fmt.Sprintf("event: %s\nretry: 20\ndata: %s\nid: %d.p\n\n", kind, data, n)
	}
	hello := func(n int) string { return block("outcrier.hello", `{"resumed":false}`, n) }
	event := func(n int) string {
		return block("test.added", fmt.Sprintf(`{"id":"%d","topic":"a","type":"test.added","data":{}}`, n), n)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Query().Get("last_event_id") == "" {
			fmt.Fprint(w, hello(0)+event(1))
			return
		}
		fmt.Fprint(w, hello(1)+event(1)+event(2))
	}))
	defer server.Close()
	bun, deno := "test/runtimes/node_modules/@oven/bun-linux-x64/bin/bun", "test/runtimes/node_modules/@deno/linux-x64-glibc/deno"
	for name, args := range map[string][]string{"Node.js": {"node"}, "Bun": {bun}, "Deno": {deno, "run", "--allow-net"}} {
		t.Run(name, func(t *testing.T) {
			path := testkit.Program(t, args[0])
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, path, append(args[1:], "test/runtimes/follow.js", server.URL+"/events")...)
			command.Env = append(os.Environ(), "DENO_DIR="+t.TempDir(), "DENO_NO_UPDATE_CHECK=1")
			out, err := command.CombinedOutput()
			const want = "closed, refused\nevent 1\nevent 2\nclosed, closed\n"
			if err != nil || string(out) != want {
				t.Errorf("%v\n%s\nwant\n%s", err, out, want)
			}
		})
	}
}

// TestDocument_Compiles compiles the examples of docs/client.md under the strictest rules.
func TestDocument_Compiles(t *testing.T) {
	testkit.Program(t, "node")
	packages(t)
	document, err := os.ReadFile("../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	modules := filepath.Join(dir, "node_modules")
	err = os.Mkdir(modules, 0o700)
	for name, to := range map[string]string{"outcrier": here, "react": here + "/node_modules/react", "vue": here + "/node_modules/vue", "@types": here + "/node_modules/@types"} {
		if err == nil {
			err = os.Symlink(to, filepath.Join(modules, name))
		}
	}
	// Of React Native and Node.js no more is used.
	ambient := "declare module 'react-native' { export const Text: (props: { children: string }) => null }\ndeclare const process: { env: Record<string, string | undefined> };\n"
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ambient.d.ts"), []byte(ambient), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--strict", "--noEmit", "--jsx", "react-jsx", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler",
		"--moduleDetection", "force", "--lib", "es2022,dom", "--skipLibCheck", "--types", "react", "ambient.d.ts",
	}
	blocks := regexp.MustCompile("(?ms)^```(tsx?|vue)\n(.*?)^```$").FindAllSubmatch(document, -1)
	if len(blocks) < 6 {
		t.Fatalf("the document has %d examples", len(blocks))
	}
	for i, block := range blocks {
		kind, code := string(block[1]), block[2]
		if kind == "vue" { // the script is, without the template
			script := regexp.MustCompile(`(?s)<script setup lang="ts">\n(.*)</script>`).FindSubmatch(code)
			kind, code = "ts", append([]byte("declare function defineProps<T>(): T;\n"), script[1]...)
		}
		name := fmt.Sprintf("example%d.%s", i, kind)
		if err := os.WriteFile(filepath.Join(dir, name), code, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(here, "node_modules/.bin/tsc"), args...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
