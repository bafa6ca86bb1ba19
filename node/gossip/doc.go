// Package gossip tells the nodes of a cluster about each other: who is alive, and small soft
// state that parts of a node exchange as [Sharer]s.
//
// Membership is memberlist's (SWIM with suspicion), over the cluster port: packets on the
// transport's UDP socket, encrypted under the cluster's gossip key, streams through the
// transport under the protocol "gossip/1". The cluster's id is the label of every message.
//
// Soft state goes straight to every living node, three times a second, as one datagram for
// each topic: with a cluster of Raft's size that is faster and simpler than an epidemic. The
// newest frame of a node and topic, by its sequence, wins; only those of the epoch that the
// node's membership names count, so that what a dead process said never comes back. Every
// exchange of memberlist's full state carries the newest frames too, so that nodes that
// cannot reach each other directly hear of each other.
//
// Gossip is a hint. It never changes Raft's membership, and nothing fails without it.
package gossip
