// Package seats has the rules by which nodes get and lose a vote: pure functions of what the
// leader knows, so that each rule can be tested without a cluster.
//
// A seat is a node of Raft's configuration. Next says which one change the leader should make
// now, and Check says whether a change that an operator asks for would cost the quorum.
package seats
