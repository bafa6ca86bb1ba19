// Package ratelimit admits requests against limits on requests a minute, tokens a minute
// and requests in flight, of a key and of its team, in a cluster without a central counter.
//
// Every node counts each limit in one-second buckets of a minute, the oldest counted whole.
// Every 100 ms it sends each peer what it has counted, how much demand it saw and its
// claim: how much it may still admit before it speaks again. A claim is a share of what the
// limit has left, by demand, and never more than what the counts and the others' claims
// leave over:
//
//	claim ≤ limit × visible / members - counts of all - claims of the others that are visible
//
// Only peers that hear each other count as visible, so the two sides of a partition never
// admit more than the limit together. A request that finds the claim used while the count
// is below the limit waits for the next rounds, 300 ms at most.
//
// A limit below four for each member is too small to share out: one member, found by
// rendezvous hashing, counts it for all, and is asked. Where it does not answer, each node
// goes on by its part of the limit, at least one.
//
// A single node is exact and never waits.
package ratelimit
