// Package order is about the batches that providers run: what they may cost is held when they are ordered, and charged
// ahead once the provider has them; what they have used is booked once each when they are over. Those that the cluster
// runs are package batch.
//
// An order claims what its requests claim together, of each model that answers some (Advances), in all budgets or in
// none. The record of the batch, which the provider's answer brings about, keeps what was charged. Whoever learns first
// that the batch is over books it: a client's question, or the Watch on the leader. The record says who does, and from
// which place of that node's journal on, so that every part is booked once, whatever ends in between: the Watch of that
// node goes on, whoever leads.
package order
