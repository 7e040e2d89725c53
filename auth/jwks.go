package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Limits of a JWKS.
const (
	maxJWKSBytes = 256 << 10
	maxKeys      = 64
	// minRefresh is also the least time between fetches that unknown kids cause:
	// anyone can send one.
	minRefresh = 10 * time.Second
)

// jwks fetches a JWKS. github.com/MicahParks/keyfunc/v3 is not what does so: it
// starts a goroutine that nobody waits for, tries every key of the set on a token
// without a kid, whatever its alg and use, lets who sends an unknown kid wait for
// its rate limit, and has one error for keys that did not come and for tokens that
// are bad.
type jwks struct {
	address *url.URL
	refresh time.Duration
	timeout time.Duration
	client  *http.Client

	// fetching is held by who fetches, so that one does for all who wait.
	fetching   chan struct{}
	passedOver []string // of the last set, guarded by fetching

	mu    sync.Mutex
	loads int       // how many fetches have ended
	ended time.Time // when the last of them did
	good  time.Time // when the last good one did
	fault error     // of the last one; of none yet, that there was none
}

func newJWKS(config Config) (*jwks, error) {
	j := &jwks{
		refresh:  config.Refresh,
		timeout:  config.Timeout,
		fetching: make(chan struct{}, 1),
		fault:    errors.New("not fetched yet"),
	}
	if j.refresh == 0 {
		j.refresh = defaultRefresh
	}
	if j.timeout <= 0 {
		j.timeout = defaultTimeout
	}
	if j.refresh < minRefresh {
		return nil, fmt.Errorf("refresh is %s, at least %s is allowed", j.refresh, minRefresh)
	}
	transport := config.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.DisableKeepAlives = true // one request in minutes
		own.MaxResponseHeaderBytes = 16 << 10
		transport = own
	}
	// A redirect would let who holds the issuer's front send us anywhere, our own
	// network included. The address is configured, and can be the right one.
	j.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var err error
	j.address, err = checkURL(config.JWKS)
	return j, err
}

// checkURL is for the address of a JWKS.
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

// name is the address as it may be logged.
func (j *jwks) name() string { return j.address.Scheme + "://" + j.address.Host + j.address.Path }

// failing tells whether the last fetch failed, or there was none.
func (j *jwks) failing() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fault != nil
}

// demand fetches for a token of an unknown key, unless that was done just now. It
// tells whether there was a fetch since it was called, be it another's.
func (j *jwks) demand(ctx context.Context, adopt func(keySet)) bool {
	j.mu.Lock()
	loads, soon := j.loads, j.loads > 0 && time.Since(j.ended) < minRefresh
	j.mu.Unlock()
	if soon {
		return false
	}
	select {
	case j.fetching <- struct{}{}:
		defer func() { <-j.fetching }()
	case <-ctx.Done():
		return false
	}
	j.mu.Lock()
	done := j.loads > loads
	j.mu.Unlock()
	if !done {
		// Not ended by the one who asks: others wait for it.
		_ = j.load(context.WithoutCancel(ctx), adopt) // kept in fault; Run logs
	}
	return true
}

// fetch fetches when it is time to.
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
	set, err := j.get(ctx)
	if err == nil {
		adopt(set)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended, j.fault = time.Now(), err
	j.loads++
	if err == nil {
		j.good = j.ended
	}
	return err
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
