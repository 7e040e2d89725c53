module github.com/outcrier/outcrier/internal/conformance/clients/go

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/donovanhide/eventsource v0.0.0-20210830082556-c59027999da0
	github.com/gorilla/websocket v1.5.3
	github.com/launchdarkly/eventsource v1.11.0
	github.com/r3labs/sse/v2 v2.10.0
	github.com/tmaxmax/go-sse v0.12.0
	gopkg.in/cenkalti/backoff.v1 v1.1.0
	resty.dev/v3 v3.0.0-rc.4
)

require golang.org/x/net v0.43.0 // indirect
