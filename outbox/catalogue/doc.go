// Package catalogue lists and edits the catalogue: what each type of events means to people and
// to clients, and the JSON Schema that its payloads match.
//
// Appends hold payloads to the schemas (package outbox). Without an entry events of a type are
// appended and sent all the same.
package catalogue
