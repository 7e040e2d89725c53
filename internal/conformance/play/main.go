// Command play plays the scenes of package conformance on any server of Server-Sent
// Events, and prints what its clients saw.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"

	"github.com/outcrier/outcrier/internal/conformance"
)

const usage = `Plays scenes to clients of a server of Server-Sent Events: crashes, resets, events that
are cut in two, odd payloads. Prints which rules the stream's bytes break, and for each
client and scene whether it was given every event once, in order.

  go run ./internal/conformance/play \
    -url 'http://127.0.0.1:8080/events?topic=conformance&format=payload&names=message' \
    -append 'curl -sf http://127.0.0.1:8080/events -H "Content-Type: application/json" -d "{\"topic\":\"conformance\",\"type\":\"conformance.appended\",\"payload\":$(cat)}"'

The command of -append is run by sh once for each event, with the JSON of its payload on
standard input; the stream has to bring it, however it wraps it. Without -crash and
-drain a crash is played by closing all connections, and no drain is played.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// clients are commands by name.
type clients []*conformance.Client

func (c *clients) String() string { return "" }

func (c *clients) Set(text string) error {
	name, command, found := strings.Cut(text, "=")
	if !found || !strings.Contains(command, conformance.URL) {
		return fmt.Errorf("want NAME=COMMAND, with %s where the stream's URL is to stand", conformance.URL)
	}
	// By the shell, which has the URL in a variable.
	command = strings.ReplaceAll(command, conformance.URL, `"$0"`)
	*c = append(*c, &conformance.Client{Name: name, Command: []string{"sh", "-c", command, conformance.URL}})
	return nil
}

func run(ctx context.Context, args []string) (ok bool, err error) {
	playing := clients{{Name: conformance.Libraries[0].Name}}
	flags := flag.NewFlagSet("play", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	address := flags.String("url", "", "the stream, from now on")
	appendBy := flags.String("append", "", "a command of the shell that appends an event, with the JSON of its payload on standard input")
	crashBy := flags.String("crash", "", "a command that kills the server, as by kill -9, and returns when it or another one serves at the URL again")
	drainBy := flags.String("drain", "", "a command that stops the server in order, likewise")
	only := flags.String("scenes", "", "the names of the scenes to play, with commas between; all by default")
	flags.Var(&playing, "client", "a client, as NAME=COMMAND with URL where the stream's is to stand; it prints each event as a line of JSON; may be repeated")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	stream, err := url.Parse(*address)
	if err != nil || stream.Host == "" || *appendBy == "" {
		return false, fmt.Errorf("-url and -append are needed; see -h")
	}
	stage := &conformance.Stage{
		Stream: stream,
		Append: func(ctx context.Context, payload string) error { return shell(ctx, *appendBy, payload) },
		Log:    func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	if *crashBy != "" {
		stage.Crash = func(ctx context.Context, _ func(*url.URL)) error { return shell(ctx, *crashBy, "") }
	}
	if *drainBy != "" {
		stage.Drain = func(ctx context.Context, _ func(*url.URL)) error { return shell(ctx, *drainBy, "") }
	}
	scenes := slices.DeleteFunc(slices.Clone(conformance.Scenes), func(scene conformance.Scene) bool {
		return *only != "" && !slices.Contains(strings.Split(*only, ","), scene.Name)
	})

	findings, err := conformance.Inspect(ctx, stream, stage.Append)
	if err != nil {
		return false, err
	}
	for _, f := range findings {
		fmt.Printf("BROKEN %s: %s.\n       seen: %s\n", f.Name, f.Text, f.Seen)
	}
	fmt.Printf("%d of %d rules of the wire are kept\n\n", len(conformance.Rules)-len(findings), len(conformance.Rules))
	verdicts, err := stage.Play(ctx, playing, scenes)
	fmt.Print(conformance.Table(verdicts))
	ok = len(findings) == 0
	for _, v := range verdicts {
		fatal := slices.ContainsFunc(scenes, func(s conformance.Scene) bool { return s.Name == v.Scene && s.Fatal })
		ok = ok && (fatal || v.OK())
	}
	return ok, err
}

func shell(ctx context.Context, command, input string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command) //nolint:gosec // the user names the command
	cmd.Stdin = strings.NewReader(input)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, said.Bytes())
	}
	return nil
}
