package main

import (
	"net/http"
	"net/url"
	"slices"
)

// RemoteSettings names a server in place of the database.
type RemoteSettings struct {
	URL   string `name:"url" secret:"true" help:"a server in place of the database, like http://127.0.0.1:8080"`
	Token string `name:"token" secret:"true" help:"a bearer token for the server at --url; better in its variable than on the command line"`
}

// check leaves exactly one of the two addresses.
func (s *RemoteSettings) check(r *report, database *ConnectionSettings) {
	urlFromFile(r, "database-url", &database.DatabaseURL, &database.DatabaseURLFile)
	databaseURL := &database.DatabaseURL
	// A URL on the command line is meant, whatever the environment holds for
	// the other commands.
	switch {
	case *databaseURL == "" && s.URL == "":
		r.reject("url", "has to be given, or --database-url")
	case *databaseURL == "" || s.URL == "":
	case r.setting("url").origin > r.setting("database-url").origin:
		*databaseURL, database.DatabaseURLFile = "", ""
	case r.setting("url").origin < r.setting("database-url").origin:
		s.URL = ""
	default:
		r.reject("url", "want either it or --database-url, not both")
	}
	if s.URL != "" {
		if notServer(s.URL) {
			r.reject("url", "want http://host:port or https://host:port")
		}
	}
}

func notServer(text string) bool {
	u, err := url.Parse(text)
	return err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme)
}

// authorize puts the token into a request.
func (s RemoteSettings) authorize(request *http.Request) {
	if s.Token != "" {
		request.Header.Set("Authorization", "Bearer "+s.Token)
	}
}
