// Package client is the JavaScript module: a client for browsers, workers, Node.js, Bun
// and Deno without dependencies. It is published to npm as it is here, and served by every
// node as one file.
package client

import _ "embed"

//go:generate go test -run TestScript_IsMadeOfTheSource -update

// Script is the module as nodes serve it: all of src in one file, without what only people
// read.
//
//go:embed client.js
var Script []byte

// Types are the module's types, for TypeScript.
//
//go:embed outcrier.d.ts
var Types []byte
