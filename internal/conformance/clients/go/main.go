// Command clients follows a stream, clients NAME URL, by a library in Go. It is one program for
// all of them, which is linked once.
package main

import (
	"os"

	"github.com/outcrier/outcrier/internal/conformance/clients/go/coder"
	"github.com/outcrier/outcrier/internal/conformance/clients/go/donovanhide"
	"github.com/outcrier/outcrier/internal/conformance/clients/go/gorilla"
	"github.com/outcrier/outcrier/internal/conformance/clients/go/launchdarkly"
	"github.com/outcrier/outcrier/internal/conformance/clients/go/r3labs"
	"github.com/outcrier/outcrier/internal/conformance/clients/go/resty"
	"github.com/outcrier/outcrier/internal/conformance/clients/go/tmaxmax"
)

func main() {
	map[string]func(){
		"coder": coder.Follow, "donovanhide": donovanhide.Follow, "gorilla": gorilla.Follow, "launchdarkly": launchdarkly.Follow,
		"r3labs": r3labs.Follow, "resty": resty.Follow, "tmaxmax": tmaxmax.Follow,
	}[os.Args[1]]()
}
