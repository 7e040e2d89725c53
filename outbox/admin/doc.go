// Package admin answers the questions of people who run an outbox, and carries out their
// decisions.
//
// The questions: which events there were ([Admin.Search], [Admin.Event], [Admin.Trend]), who was
// sent them and who was not ([Admin.People], [Admin.Sent], [Admin.Why], [Admin.Receipts],
// [Admin.Unsent]), which transactions and streams are open ([Admin.Overview], [Admin.Streams]),
// which events are scheduled ([Admin.Planned]), and what other admins did ([Admin.Requests]).
// The decisions: to end streams, to erase events, to cancel scheduled ones, to revoke tokens,
// and to edit the catalogue.
//
// Each is one short transaction, and few run at the same time: streams and appends never wait
// for a search. A search takes any text that a person types, and its answer has the statement
// that shows the same in psql.
package admin
