// Package audit puts on record which events were sent to whom, and what admins asked and did.
//
// Each node has a [Recorder]. Of a stream it records the identity, the filter and the
// positions between which it was sent events; from these the view receipts derives which
// streams received an event. It records the requests of admins too, an act before it begins.
//
// A [Chain] reads the complete records: it verifies the hashes that chain the days,
// and exports the records. Migration 00008_audit.sql argues why the record can be trusted.
package audit
