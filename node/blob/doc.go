// Package blob keeps bodies that are named by their own SHA-256 digest: plugin binaries,
// tokenizers, templates, uploaded files, turns of stored conversations. What is known of a
// body (size, kind, owner, references, expiry) is replicated by Raft; the body is a file on
// the nodes' disks, sealed under the cluster's data keys.
//
// Folder is one node's disk. Store adds the cluster: a body is on two nodes before Put returns, of
// the configuration every node fetches it (Tend), and one that lacks it when it is read fetches it from
// another. What does not have its digest is never given out: it is dropped and fetched again.
package blob
