// Package append has a worked example for each language: an order and its event in
// one transaction. docs/append.md explains them.
package append
