// Package consensus runs hashicorp/raft for one node: the checked log store, the gate that
// takes a leader with a hung disk out of office, joining and membership, and Propose, which
// brings a command to the leader from any node and waits until this node has applied it.
// What must stay true, and why, is in DESIGN.md beside this file.
package consensus
