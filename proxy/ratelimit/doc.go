// Package ratelimit admits requests against limits on requests a minute, tokens a minute
// and requests in flight, in a cluster without a central counter, exactly: no span of 60
// seconds holds more than the limit, whatever the network and the nodes do.
//
// A limit is divided among the registered members. Each member alone counts its part. Who
// has used its own borrows of the others' parts: the lender counts what it lends as used, for
// a minute from the end of the loan, and the borrower uses it before that end or not at all.
// So no right to send a request is used twice in a minute, and nobody has to agree with
// anybody: a message that is lost, a partition and a node that stands still cost a part of
// the limit for a minute at most, never a request too many. DESIGN.md has the argument.
//
// A request costs no message while the node's own part lasts. Beyond it, it waits for one
// question to a peer, 300 ms at most.
package ratelimit
