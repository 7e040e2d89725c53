// Package torture holds Outcrier's promises against the worst that transactions,
// crashes and readers can do. It has only tests.
//
// TestTorture lets writers commit, roll back, prepare, copy and die in random transactions
// while readers follow over HTTP at two nodes, drop at random moments, even in the middle
// of a read, and resume at either. When all is over the table is the truth: each reader
// must have received every committed event of its topics once, and in order. The other
// tests are histories that chance meets too seldom, made by hand.
//
// TestMutants (build tag mutants) breaks the code in ways that other designs are
// broken in and sees the torture fail for each: a check that can't fail proves
// nothing.
package torture
