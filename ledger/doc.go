// Package ledger holds what was spent. The Journal is the node's own record of every
// request, on disk before its answer ends; package tick folds it into ticks, which carry
// it into the replicated state exactly once; callbacks read it with ReadFrom. Every total that
// Conclave shows is a fold of these records. FORMAT.md describes the files.
//
// A request writes two records. RESERVE is written before the provider is asked, so that
// a process that dies leaves behind what it may owe; SETTLE is written before the last byte
// of the answer leaves. When a journal is opened, a RESERVE without a SETTLE is settled at
// its hold and flagged as estimated.
package ledger
