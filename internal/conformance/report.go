package conformance

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// Table returns the results as a table in Markdown, one row per client.
func Table(verdicts []Verdict) string {
	var clients, scenes []string
	cells := map[[2]string]string{}
	for _, v := range verdicts {
		if !slices.Contains(clients, v.Client) {
			clients = append(clients, v.Client)
		}
		if !slices.Contains(scenes, v.Scene) {
			scenes = append(scenes, v.Scene)
		}
		cells[[2]string{v.Client, v.Scene}] = v.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| client | %s |\n|---|%s\n", strings.Join(scenes, " | "), strings.Repeat("---|", len(scenes)))
	for _, client := range clients {
		fmt.Fprintf(&b, "| %s |", client)
		for _, scene := range scenes {
			fmt.Fprintf(&b, " %s |", cells[[2]string{client, scene}])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// The beginning of each document.
const (
	ofClients = `# Clients of Server-Sent Events, and what this server shows to them

Written by ` + "`CONFORMANCE_REPORT=1 go test ./internal/conformance -run TestClients`" + `: %d client libraries that others wrote,
and %d programs that read a stream with what their language has. Each is a program of a few lines in [clients](clients), with a
handler that parses the JSON of every event and handles no error. All follow two nodes at once, with
` + "`?names=message&format=payload`" + `, while each scene is played. A cell says "ok" when the client was given every event once, in
order, as it was appended, and lives.

`
	ofSockets = `# Libraries of WebSockets, and what this server shows to them

Written by ` + "`CONFORMANCE_REPORT=1 go test ./internal/conformance -run TestClients`" + `: %d libraries that others wrote. Each is used
by a program of a few lines in [clients](clients), whose loop comes back from the last position. All follow two nodes at once
while each scene is played. A cell says "ok" when the program was given every event once, in order, as it was appended, and
lives.

`
)

// ReportClients is the text of CLIENTS.md; folder is the folder clients.
func ReportClients(verdicts []Verdict, folder fs.FS) (string, error) {
	foreign := 0
	for _, l := range Libraries {
		if l.foreign() {
			foreign++
		}
	}
	return report(fmt.Sprintf(ofClients, foreign, len(Libraries)-foreign), Libraries, verdicts, folder)
}

// ReportSockets is the text of SOCKETS.md, likewise.
func ReportSockets(verdicts []Verdict, folder fs.FS) (string, error) {
	return report(fmt.Sprintf(ofSockets, len(Sockets)), Sockets, verdicts, folder)
}

func report(beginning string, libraries []Library, verdicts []Verdict, folder fs.FS) (string, error) {
	var b strings.Builder
	b.WriteString(beginning)
	var scenes []Scene
	for _, scene := range Scenes {
		if slices.ContainsFunc(verdicts, func(v Verdict) bool { return v.Scene == scene.Name }) {
			scenes = append(scenes, scene)
		}
	}
	for _, scene := range scenes {
		events := slices.MaxFunc(verdicts, func(a, b Verdict) int {
			return cmp.Compare(of(a, scene.Name), of(b, scene.Name))
		}).Of
		text := scene.Text
		if libraries[0].Socket {
			text = cmp.Or(scene.Socket, text)
		}
		fmt.Fprintf(&b, "- **%s** (events: %d). %s\n", scene.Name, events, text)
	}
	b.WriteString("\n| client | version |")
	for _, scene := range scenes {
		fmt.Fprintf(&b, " %s |", scene.Name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(scenes)) + "\n")
	for _, l := range libraries {
		version, err := l.Version(folder)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| %s | %s |", l.Name, strings.TrimSpace(l.Language+" "+short(version)))
		for _, scene := range scenes {
			for _, v := range verdicts {
				if v.Client == l.Name && v.Scene == scene.Name {
					fmt.Fprintf(&b, " %s |", cell(v, scene))
				}
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n## What to set, and what to know\n\n")
	for _, l := range libraries {
		var notes []string
		if l.Set != "" {
			notes = append(notes, l.Set)
		}
		for _, scene := range scenes {
			if why := l.Known[scene.Name]; why != "" {
				notes = append(notes, fmt.Sprintf("%s: %s", scene.Name, why))
			}
		}
		if len(notes) > 0 {
			fmt.Fprintf(&b, "- **%s**: %s.\n", l.Name, strings.Join(notes, "; "))
		}
	}
	return b.String(), nil
}

func of(v Verdict, scene string) int {
	if v.Scene == scene {
		return v.Of
	}
	return 0
}

var commitOf = regexp.MustCompile(`^0\.0\.0-(\d{4})(\d\d)(\d\d).*`)

// short has the day of a commit in place of a version that Go made up.
func short(version string) string { return commitOf.ReplaceAllString(version, "of $1-$2-$3") }

// cell is a verdict in the words of the table.
func cell(v Verdict, scene Scene) string {
	switch {
	case scene.Fatal && v.Ended != "":
		return "stops"
	case scene.Fatal && v.Stuck:
		return "stays away"
	case scene.Fatal && v.OK():
		return "comes back"
	}
	return v.String()
}
