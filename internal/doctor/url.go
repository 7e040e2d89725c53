package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// probeTopic is the prefix of the topics that the doctor appends on; each run adds a suffix
// of its own.
const probeTopic = "outcrier/doctor/"

// arrives is how long bytes that the server has sent at once may take.
const arrives = 5 * time.Second

// url examines the URL as a reader uses it, through all proxies on the way.
func (e *examination) url(ctx context.Context) {
	v := &visit{
		examination: e, topic: probeTopic + strings.ToLower(rand.Text()[:12]),
		client: &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	defer v.client.CloseIdleConnections()
	if !v.ready(ctx) {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := v.open(ctx, "")
	if s == nil {
		return
	}
	defer s.close()
	if position, greeted := v.greeting(s); greeted {
		v.probe(ctx, s)
		v.resume(ctx, position)
		v.heartbeat(s)
	}
}

// visit is the examination of one URL.
type visit struct {
	*examination
	client *http.Client
	topic  string
}

func (v *visit) do(ctx context.Context, method, path string, body io.Reader, headers map[string]string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(v.URL, "/")+path, body)
	if err != nil {
		return nil, err
	}
	if v.Token != "" {
		request.Header.Set("Authorization", "Bearer "+v.Token)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	return v.client.Do(request)
}

// ready reports whether the node is ready; if not, the other checks make no sense.
func (v *visit) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*arrives)
	defer cancel()
	response, err := v.do(ctx, http.MethodGet, "/readyz", nil, nil)
	if err != nil {
		v.say(Error, "url", "it can't be reached: "+withoutURL(err), "check the address, DNS, the certificate and the firewall")
		return false
	}
	defer response.Body.Close()
	var ready struct {
		Ready  *bool
		Reason string
	}
	err = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&ready)
	switch {
	case err != nil || ready.Ready == nil:
		v.say(Error, "url", fmt.Sprintf("GET /readyz answers %s, and not as Outcrier does", response.Status), "have the proxy pass /readyz, /events and the other routes to the node")
		return false
	case !*ready.Ready:
		v.say(Error, "url", "the node is not ready: "+ready.Reason, "run outcrier doctor with --database-url at the node")
	default:
		v.ok("url", "the node is ready")
	}
	return true
}

// open opens a stream on the visit's topic. It returns nil where that fails, and has reported it.
func (v *visit) open(ctx context.Context, after string) *stream {
	headers := map[string]string{"Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}
	if after != "" {
		headers["Last-Event-ID"] = after
	}
	type answer struct {
		*http.Response
		error
	}
	answered := make(chan answer, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		response, err := v.do(ctx, http.MethodGet, "/events?topic="+url.QueryEscape(v.topic), nil, headers) //nolint:bodyclose // the stream closes it
		answered <- answer{response, err}
	}()
	var a answer
	select {
	case a = <-answered:
	case <-time.After(arrives):
		cancel()
		if a = <-answered; a.error == nil {
			_ = a.Body.Close()
		}
		v.buffering("not even the header of a stream comes within " + arrives.String())
		return nil
	}
	if a.error != nil {
		cancel()
		v.say(Error, "stream", "it can't be opened: "+withoutURL(a.error), "check proxies and firewalls in between")
		return nil
	}
	if a.StatusCode != http.StatusOK {
		defer cancel()
		defer a.Body.Close()
		v.refused("stream", a.Response, "subscribe")
		return nil
	}
	return newStream(a.Response, cancel)
}

// refused reports an answer that is not the expected one.
func (v *visit) refused(check string, response *http.Response, grant string) {
	var problem struct{ Detail string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&problem) // a proxy may answer with anything
	remedy := "look at the log of the node, and of the proxy"
	if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden {
		remedy = fmt.Sprintf("give a --token that grants to %s %s**: outcrier token --subscribe '%s**' --publish '%s**'", grant, probeTopic, probeTopic, probeTopic)
	}
	v.say(Error, check, strings.TrimSuffix(fmt.Sprintf("the answer is %s: %s", response.Status, problem.Detail), ": "), remedy)
}

// missed reports why an event did not come.
func (v *visit) missed(what string, err error) {
	var left *goodbye
	switch {
	case errors.Is(err, errSilent):
		v.buffering(fmt.Sprintf("%s does not come within %s", what, arrives))
	case errors.As(err, &left):
		v.say(Error, "stream", fmt.Sprintf("%s does not come: %v", what, err), cmp.Or(leaving[left.Reason], "look at the log of the node"))
	default:
		v.say(Error, "stream", fmt.Sprintf("%s does not come: %v", what, err), "look at the log of the node, and of the proxy")
	}
}

// leaving has the remedies, by the reason of a goodbye.
var leaving = map[string]string{
	"drain":            "the node is about to stop: try again, and have the proxy take out nodes whose /readyz says no",
	"full":             "start more nodes, or give this one a larger --max-streams",
	"too_many":         "close some of this token's or address's streams, or raise --max-streams-per-principal and --max-streams-per-address; behind a proxy, name it in --trust-proxy",
	"too_fast":         "open streams more slowly than --open-rate allows, or raise it; behind a proxy, name it in --trust-proxy",
	"keys_unavailable": "see that the node reaches its --jwks-url",
}

func (v *visit) buffering(what string) {
	v.say(Error, "buffering", what+": a proxy holds streams back",
		"nginx: proxy_buffering off (and leave X-Accel-Buffering in force: no proxy_ignore_headers); Apache: flushpackets=on; others: no response buffering for text/event-stream")
}

// greeting examines the header of a stream and waits for its first event.
func (v *visit) greeting(s *stream) (position string, greeted bool) {
	header := s.response.Header
	if kind := header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		v.say(Error, "headers", fmt.Sprintf("Content-Type is %q: no browser takes that for a stream", kind), "have the proxy leave the header as it is: text/event-stream")
		return "", false
	}
	switch encoding := header.Get("Content-Encoding"); {
	case encoding == "":
		v.ok("compression", "the stream is not compressed on its way")
	case s.byNode():
		v.ok("compression", "the node compresses the stream, each event on its own (--gzip)")
	default:
		v.say(Error, "compression", "the stream is compressed ("+encoding+"): a proxy that compresses collects data before it sends", "no compression for text/event-stream at the proxy (nginx: not in gzip_types), and leave Cache-Control: no-transform in force")
		return "", false
	}
	if control := header.Get("Cache-Control"); !strings.Contains(control, "no-transform") {
		v.say(Warning, "headers", "headers of the answer are lost on the way", "have the proxy pass them on: clients and other proxies act on them", "Cache-Control: no-store, no-transform")
	}
	if s.response.ProtoMajor == 1 {
		v.say(Advice, "protocol", "the URL speaks HTTP/1.1: browsers open six connections per site, and each open stream is one of them", "speak HTTP/2 to browsers, at the proxy or by TLS at the node")
	} else {
		v.ok("protocol", "%s: streams share a connection", s.response.Proto)
	}
	event, err := s.event("outcrier.hello", arrives)
	if err != nil {
		v.missed("the first event", err)
		return "", false
	}
	if accel := header.Get("X-Accel-Buffering"); accel == "" {
		v.ok("headers", "X-Accel-Buffering was taken by a proxy that acts by it, as nginx does")
	} else {
		v.ok("headers", "those of the stream have arrived")
	}
	return event.id, true
}

// probe appends an event and waits for it.
func (v *visit) probe(ctx context.Context, s *stream) {
	posting, cancel := context.WithTimeout(ctx, 2*arrives)
	defer cancel()
	body := fmt.Sprintf(`{"topic":%q,"type":"outcrier_doctor.probed","source":"/outcrier/doctor"}`, v.topic)
	began := time.Now()
	response, err := v.do(posting, http.MethodPost, "/events", strings.NewReader(body), map[string]string{"Content-Type": "application/json"})
	if err != nil {
		v.say(Error, "append", "the probe can't be appended: "+withoutURL(err), "have the proxy pass POST /events")
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		v.refused("append", response, "publish on")
		return
	}
	if _, err := s.event("outcrier_doctor.probed", arrives); err != nil {
		v.missed("an event that was appended", err)
		return
	}
	v.ok("delivery", "an event came back after %v, its append included", time.Since(began).Round(time.Millisecond))
}

// resume opens a second stream from the position of the first stream's first event, and
// checks that the server has resumed from there.
func (v *visit) resume(ctx context.Context, position string) {
	s := v.open(ctx, position)
	if s == nil {
		return
	}
	defer s.close()
	hello, err := s.event("outcrier.hello", arrives)
	var told struct{ Resumed any }
	if err == nil {
		err = json.Unmarshal([]byte(hello.data), &told)
	}
	switch {
	case err != nil:
		v.say(Error, "resume", "a resumed stream gets no outcrier.hello: "+err.Error(), "look at the log of the node")
	case told.Resumed == false:
		v.say(Error, "resume", "the header Last-Event-ID does not reach the node: browsers miss what happens while they are away", "have the proxy pass it on")
	case told.Resumed == true:
		v.ok("resume", "Last-Event-ID reaches the node, and the stream went on whole")
	default:
		v.say(Warning, "resume", "a stream could not be resumed a moment later: "+hello.data, "check whether this URL leads to several databases")
	}
}

// heartbeat waits for a heartbeat on a stream without events.
func (v *visit) heartbeat(s *stream) {
	began := time.Now()
	err := s.sign(v.Patience)
	after := time.Since(began).Round(100 * time.Millisecond)
	var left *goodbye
	switch {
	case errors.As(err, &left):
		v.missed("a heartbeat", err)
	case err == nil:
		v.ok("heartbeat", "a silent stream is kept alive: a sign of life after %v", after)
	case errors.Is(err, errSilent):
		v.say(Error, "heartbeat", fmt.Sprintf("no heartbeat comes within %v", v.Patience), "a proxy may hold small writes back: no buffering for text/event-stream; or the node's --heartbeat is longer than --patience")
	default:
		v.say(Error, "heartbeat", fmt.Sprintf("the stream was cut after %v without an event (%v)", after, err), "give the proxy a longer timeout than the node's --heartbeat (nginx: proxy_read_timeout 1h; HAProxy: timeout tunnel; load balancers: idle timeout)")
	}
}

// withoutURL returns the text of a request's error without the URL, which may have a token.
func withoutURL(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}
