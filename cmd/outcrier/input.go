package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// input returns standard input for a command that reads all of it. The end of ctx, as by
// Ctrl-C, ends a read; at a terminal a person sees that the command waits for input.
func (p process) input(ctx context.Context, what string) io.Reader {
	if file, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		fmt.Fprintf(p.stderr, "Type %s, and end it with Ctrl-D at the start of a line:\n", what)
	}
	return &interruptible{ctx, p.stdin}
}

// interruptible reads until ctx ends. A read that ctx has cut short goes on in the
// background, until the process ends.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	own := make([]byte, len(p)) // p is the caller's again when ctx ends
	read := make(chan result, 1)
	go func() {
		n, err := i.from.Read(own)
		read <- result{n, err}
	}()
	select {
	case r := <-read:
		return copy(p, own[:r.n]), r.err
	case <-i.ctx.Done():
		return 0, context.Cause(i.ctx)
	}
}

// readStdin reads one JSON value of which every field is known.
func readStdin[T any](stdin io.Reader, want string) (value *T, err error) {
	decoder := json.NewDecoder(io.LimitReader(stdin, maxStdin))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&value)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return nil, fmt.Errorf("standard input: %s can't be a JSON %s, want %s", cmp.Or(kind.Field, "it"), kind.Value, want)
	case errors.Is(err, io.EOF):
		return nil, errors.New("standard input is empty, want " + want)
	case err != nil:
		return nil, fmt.Errorf("standard input: %s; want %s", strings.TrimPrefix(err.Error(), "json: "), want)
	case value == nil:
		return nil, errors.New("standard input has null, want " + want)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("standard input has more than one JSON value, or text after it; want " + want)
	}
	return value, nil
}

// maxStdin is in bytes: the largest payload limit that a schema can have.
const maxStdin = 64 << 20
