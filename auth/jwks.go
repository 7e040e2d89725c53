package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of a JWKS.
const (
	maxJWKSBytes = 256 << 10
	maxKeys      = 64
	minRefresh   = 10 * time.Second
)

// jwks fetches a JWKS. github.com/MicahParks/keyfunc/v3 is not used: it starts a goroutine
// that nothing waits for, tries every key of the set on a token without a kid, whatever its
// alg and use, makes requests with an unknown kid wait for its rate limit, and returns the
// same error for keys that could not be fetched and for bad tokens.
type jwks struct {
	address *url.URL
	refresh time.Duration
	maxAge  time.Duration // negative for none
	timeout time.Duration
	leeway  time.Duration
	client  *http.Client

	// fetching is held during a fetch, so that one fetch serves all waiting requests.
	fetching   chan struct{}
	passedOver []string // of the last set, guarded by fetching
	// demands is the budget of fetches that unknown keys cause; wanted makes Run fetch as
	// soon as the budget allows. See unknown_key.go.
	demands *rate.Limiter
	wanted  chan struct{}

	mu     sync.Mutex
	loads  int       // how many fetches have ended
	failed int64     // how many of them failed
	began  time.Time // when the last good one began
	good   time.Time // when the last good one ended
	fault  error     // of the last fetch; before the first, that there was none
	// misses are the kids that were missing after a fetch, and when it began; withdrawn are
	// kids that were trusted before.
	misses    map[string]time.Time
	withdrawn map[string]bool
}

func newJWKS(config Config, leeway time.Duration) (*jwks, error) {
	j := &jwks{
		refresh:  cmp.Or(config.Refresh, defaultRefresh),
		maxAge:   cmp.Or(config.MaxAge, defaultMaxAge),
		timeout:  cmp.Or(max(0, config.Timeout), defaultTimeout),
		leeway:   leeway,
		fetching: make(chan struct{}, 1),
		demands:  rate.NewLimiter(rate.Every(demandEvery), demandBurst),
		wanted:   make(chan struct{}, 1),
		fault:    errors.New("not fetched yet"),
		misses:   map[string]time.Time{}, withdrawn: map[string]bool{},
	}
	if j.refresh < minRefresh {
		return nil, fmt.Errorf("refresh is %s, at least %s is allowed", j.refresh, minRefresh)
	}
	if j.maxAge > 0 && j.maxAge < 2*j.refresh {
		return nil, fmt.Errorf("max age is %s, at least twice the refresh, %s, is needed", j.maxAge, 2*j.refresh)
	}
	transport := config.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.DisableKeepAlives = true // one request in minutes
		own.MaxResponseHeaderBytes = 16 << 10
		transport = own
	}
	// With a redirect, an attacker at the issuer's front end could send us anywhere, also
	// into our own network. The address is configured, and can be the final one.
	j.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var err error
	j.address, err = checkURL(config.JWKS)
	return j, err
}

// checkURL parses and checks the address of a JWKS.
func checkURL(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("JWKS is not a URL") // err would quote its password
	case address.Scheme != "https" && address.Scheme != "http":
		return nil, fmt.Errorf("JWKS is a URL of scheme %.20q; allowed are https and http", address.Scheme)
	case address.Hostname() == "":
		return nil, errors.New("JWKS is a URL without a host")
	}
	return address, nil
}

// name returns the address without secrets, for the log.
func (j *jwks) name() string { return j.address.Scheme + "://" + j.address.Host + j.address.Path }

// failing reports whether the last fetch failed, or there was none.
func (j *jwks) failing() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fault != nil
}

// stale reports whether the keys are too old to be trusted.
func (j *jwks) stale() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.maxAge > 0 && !j.good.IsZero() && time.Since(j.good) >= j.maxAge
}

// staleIn returns how long the keys are still trusted; negative means for ever.
func (j *jwks) staleIn() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.maxAge < 0 || j.good.IsZero() {
		return -1
	}
	return max(0, j.maxAge-time.Since(j.good))
}

// fetch fetches the JWKS.
func (j *jwks) fetch(ctx context.Context, adopt func(keySet)) error {
	select {
	case j.fetching <- struct{}{}:
		defer func() { <-j.fetching }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return j.load(ctx, adopt)
}

func (j *jwks) load(ctx context.Context, adopt func(keySet)) error {
	began := time.Now()
	set, err := j.get(ctx)
	if err == nil {
		adopt(set)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fault = err
	j.loads++
	if err != nil {
		j.failed++
		return err
	}
	j.began, j.good = began, time.Now()
	return nil
}

func (j *jwks) get(ctx context.Context) (set keySet, err error) {
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, j.address.String(), nil)
	if err != nil {
		return set, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := j.client.Do(request)
	if err != nil {
		var quoting *url.Error // quotes the address, query and all
		if errors.As(err, &quoting) {
			err = quoting.Err
		}
		return set, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return set, fmt.Errorf("answered %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxJWKSBytes+1))
	switch {
	case err != nil:
		return set, fmt.Errorf("read answer: %w", err)
	case len(body) > maxJWKSBytes:
		return set, fmt.Errorf("the answer has more than %d bytes", maxJWKSBytes)
	}
	return parseJWKS(body)
}
