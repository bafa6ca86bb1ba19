// Package transport is the cluster port: one TCP listener on which nodes talk TLS 1.3 with
// certificates on both sides, and the UDP socket of the same number for gossip. ALPN says
// what a connection is for; a connection for one protocol never holds up another.
//
// A peer is let in if its certificate chains to the cluster's own CA, names the cluster and
// a node in its URI (spiffe://CLUSTER/node/NODE) and the node is allowed by a callback that
// reads the replicated table of members, so that removing a member shuts it out at once.
// join/1 alone takes clients without a certificate: that is how they get one.
//
// RPC, over rpc/1, carries many calls on one connection for each peer.
package transport
