// Package client is the module for browsers: JavaScript without dependencies, which
// is published to npm as it is here, and served by every node.
package client

import (
	_ "embed"
	"sync"

	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/js"
)

//go:embed outcrier.js
var source []byte

// Types are the module's types, for TypeScript.
//
//go:embed outcrier.d.ts
var Types []byte

// Script is the module as nodes serve it: the same, without what only people read.
var Script = sync.OnceValue(func() []byte {
	m := minify.New()
	m.AddFunc("text/javascript", js.Minify)
	script, err := m.Bytes("text/javascript", source)
	if err != nil {
		panic(err) // it is this package's own
	}
	return script
})
