package handlers_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth/login"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/catalogue"
)

// described is openapi.yaml.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	for _, media := range []string{"application/cloudevents+json", "application/cloudevents-batch+json"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.JSONBodyDecoder)
	}
	for _, media := range []string{"text/javascript", "text/html", "text/css", "image/svg+xml"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
	content, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(content)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// agrees checks every answer of next against openapi.yaml: a request that succeeds must
// be described there, and so must every answer.
func agrees(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		kept := r.Clone(r.Context())
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &body), r.Body}
		answer := &answeredBy{ResponseWriter: w, status: http.StatusOK, upgrades: r.Header.Get("Upgrade") == "websocket"}
		next.ServeHTTP(answer, r)
		if answer.broken {
			return
		}
		if err := disagreement(doc, kept, body.Bytes(), answer); err != nil {
			t.Errorf("%s %.300s answers %d, and openapi.yaml: %v", kept.Method, kept.RequestURI, answer.status, err)
		}
	})
}

// answeredBy keeps the answer of a handler.
type answeredBy struct {
	http.ResponseWriter
	status int
	header http.Header // as it was sent
	body   bytes.Buffer
	// upgrades is set when a connection that is taken over becomes a WebSocket.
	upgrades bool
	broken   bool // the client is gone: the answer is not whole
}

func (a *answeredBy) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answeredBy) WriteHeader(status int) {
	if a.header == nil {
		a.status, a.header = status, a.Header().Clone()
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answeredBy) Write(p []byte) (int, error) {
	if a.header == nil {
		a.header = a.Header().Clone()
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") {
		a.body.Write(p)
	}
	n, err := a.ResponseWriter.Write(p)
	a.broken = a.broken || err != nil
	return n, err
}

// Hijack takes over a stream's connection: its answer is in the header by then.
func (a *answeredBy) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if a.header = a.Header().Clone(); a.upgrades {
		a.status = http.StatusSwitchingProtocols
	}
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

func disagreement(doc *openapi3.T, r *http.Request, body []byte, a *answeredBy) error {
	item, parameters := find(doc, r.URL.EscapedPath()) // as echo routes
	var operation *openapi3.Operation
	if item != nil {
		operation = item.GetOperation(r.Method)
	}
	if operation == nil && item != nil && r.Method == http.MethodHead {
		operation = item.Get // as it says of itself
	}
	if operation == nil {
		if a.status < 400 && r.Method != http.MethodOptions {
			return fmt.Errorf("does not know it")
		}
		return nil
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
		ExcludeResponseBody: strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") || r.Method == http.MethodHead,
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := &openapi3filter.RequestValidationInput{
		Request: r, Options: options, PathParams: parameters,
		Route: &routers.Route{Spec: doc, Path: r.URL.Path, PathItem: item, Method: r.Method, Operation: operation},
	}
	if a.status < 400 {
		if err := openapi3filter.ValidateRequest(context.Background(), request); err != nil {
			return err
		}
		for name := range r.URL.Query() {
			if operation.Parameters.GetByInAndName("query", name) == nil {
				return fmt.Errorf("has no parameter %s, which was taken", name)
			}
		}
	}
	response := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: a.status, Header: a.header, Options: options,
	}
	answered := a.body.Bytes()
	if a.header.Get("Content-Encoding") == "gzip" && !options.ExcludeResponseBody {
		text, err := gzip.NewReader(&a.body)
		if err == nil {
			answered, err = io.ReadAll(text)
		}
		if err != nil {
			return err
		}
	}
	response.SetBodyBytes(answered)
	return openapi3filter.ValidateResponse(context.Background(), response)
}

// find finds the path of the file that an escaped path is of, and what its
// parameters are.
func find(doc *openapi3.T, escaped string) (*openapi3.PathItem, map[string]string) {
	if item := doc.Paths.Value(escaped); item != nil {
		return item, nil
	}
	given := strings.Split(escaped, "/")
	for path, item := range doc.Paths.Map() {
		parameters := map[string]string{}
		segments := strings.Split(path, "/")
		same := slices.EqualFunc(segments, given, func(segment, text string) bool {
			name, is := strings.CutPrefix(segment, "{")
			if !is {
				return segment == text
			}
			plain, err := url.PathUnescape(text)
			parameters[strings.TrimSuffix(name, "}")] = plain
			return err == nil
		})
		if same {
			return item, parameters
		}
	}
	return nil, nil
}

func TestOpenAPI_HasEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	var routes, documented []string
	server := handlers.New(allRoutes()).(*echo.Echo)
	for _, route := range server.Routes() {
		switch path := templated(route.Path); {
		case !strings.HasPrefix(path, "/admin/api/"):
			routes = append(routes, route.Method+" "+path)
		case route.Method == http.MethodPatch: // which none of these has; they say what they do have
			answer := httptest.NewRecorder()
			server.ServeHTTP(answer, httptest.NewRequest(http.MethodPatch, "http://localhost"+route.Path, nil))
			for method := range strings.SplitSeq(answer.Header().Get("Allow"), ", ") {
				routes = append(routes, method+" "+path)
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	// Each GET is a HEAD too, which the file says once.
	heads := slices.DeleteFunc(slices.Clone(routes), func(route string) bool { return !strings.HasPrefix(route, "HEAD ") })
	routes = slices.DeleteFunc(routes, func(route string) bool { return strings.HasPrefix(route, "HEAD ") })
	for _, route := range routes {
		if path, is := strings.CutPrefix(route, "GET "); is && !slices.Contains(heads, "HEAD "+path) {
			t.Errorf("there is no HEAD %s", path)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("routes are\n\t%s\nand openapi.yaml has\n\t%s", strings.Join(routes, "\n\t"), strings.Join(documented, "\n\t"))
	}
}

// templated is a path of echo as OpenAPI writes it.
func templated(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name, is := strings.CutPrefix(segment, ":"); is {
			segments[i] = "{" + name + "}"
		} else if segment == "*" {
			segments[i] = "{file}"
		}
	}
	return strings.Join(segments, "/")
}

// allRoutes is what makes a node have every route that it can have.
func allRoutes() handlers.Config {
	return handlers.Config{
		Catalogue: func(context.Context) ([]catalogue.EventType, error) { return nil, nil },
		Metrics:   http.NotFoundHandler(), MetricsOpen: true, Admin: admin.New(nil),
		Access: handlers.Access{Open: true, Login: new(login.Login)},
	}
}

func TestOpenAPI_IsServed(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a := do(t, "GET", newNode(t, nil).url+"/openapi.yaml", "")
	if a.status != http.StatusOK || a.body != string(content) || a.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("status %d, %s, %d bytes", a.status, a.header.Get("Content-Type"), len(a.body))
	}
}
