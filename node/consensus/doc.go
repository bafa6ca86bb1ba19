// Package consensus runs hashicorp/raft for one node: leadership and membership, reads that
// must not be old, and Propose, which brings a command to the leader from any node and waits
// until this node has applied it. What Raft keeps on disk is package logstore, what takes a
// leader with a hung disk out of office is package gate, and how a node gets into a cluster
// is package join. What must stay true, and why, is in DESIGN.md beside this file.
package consensus
