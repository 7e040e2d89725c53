// Package client is the JavaScript module: a client for browsers, workers, Node.js, Bun
// and Deno without dependencies. It is published to npm as it is here. Every node serves
// it as one file, which loads others when they are needed.
package client

import "embed"

//go:generate go test -run TestScript_IsMadeOfTheSource -update

// Script is the core of the module, minified, as nodes serve it: all that most pages need. It
// imports the Parts when they are needed, relative to itself, as client/NAME.
//
//go:embed client.js
var Script []byte

// Whole is the module with all of its parts, which imports nothing: for service workers.
//
//go:embed client.all.js
var Whole []byte

// Types are the module's types, for TypeScript.
//
//go:embed outcrier.d.ts
var Types []byte

//go:embed client/*.js
var parts embed.FS

// Parts returns the files that Script loads when they are needed, by name. A name has a hash
// of the content, so it never stands for other content.
func Parts() map[string][]byte {
	files, err := parts.ReadDir("client")
	if err != nil {
		panic(err) // it is embedded
	}
	all := make(map[string][]byte, len(files))
	for _, file := range files {
		if all[file.Name()], err = parts.ReadFile("client/" + file.Name()); err != nil {
			panic(err)
		}
	}
	return all
}
