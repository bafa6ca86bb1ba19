// Package batch runs OpenAI's batches for providers that have no batches of their own, and for
// files that lie here. A batch is a record in Raft; each of its lines goes the way of any other
// request, so that access, limits, budgets, guardrails, price and ledger are those of every route.
//
// One node runs a batch at a time, under a lease in the record, and every write of the record names
// the version that was read. Before a runner sends lines it writes which ones (Asked); the next
// write has their answers, as a part of the output, and the lines that come next. So of a runner
// that died only the lines in Asked may have been sent without an answer that is kept. They are not
// sent again, for that could be charged twice: they get a line in the error file that says so.
package batch
