// Package logstore keeps what raft keeps on disk: its log in files of its own, term and
// vote in a bbolt file (Store), with a checksum on every entry and a witness file that remembers
// how far the log reached, and its snapshots (Snapshots), each compared with its checksum before it is used.
// What must stay true, and why, is in node/consensus/DESIGN.md.
package logstore
