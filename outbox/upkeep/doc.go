// Package upkeep does the work that an outbox needs from time to time: it makes partitions and
// drops expired ones, removes past records (Retention), moves scheduled events when they are
// due (Schedule), and says how an outbox is (TakeSurvey). Every node runs it, and locks let one
// of them work at a time.
package upkeep
