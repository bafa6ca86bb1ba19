// Package fault names the durable steps of a node at which tests of whole processes end it as kill -9
// does. A program that is built without the tag conclave_fault, as those that are shipped are, has
// nothing of it: Point is empty there.
package fault

// Variable is the environment variable that chooses a point in a program built with the tag:
// "NAME", or "NAME:N" for the Nth time that it is reached.
const Variable = "CONCLAVE_FAULT"

// The points. A name says the step; what is before and after it may be on the disk or not.
const (
	LogStore        = "log.store"        // entries of Raft's log are about to be written
	LogStored       = "log.stored"       // they are, and nobody knows
	StateCommit     = "state.commit"     // a batch is applied, and its transaction is about to be committed
	StateCommitted  = "state.committed"  // it is, and nobody knows
	JournalSync     = "journal.sync"     // records of requests are about to be synced
	JournalSynced   = "journal.synced"   // they are, and nobody knows
	TickSend        = "tick.send"        // a tick is about to be proposed
	TickSent        = "tick.sent"        // it is applied, and the node does not know
	SnapshotWrite   = "snapshot.write"   // a snapshot is begun, and the state is about to be written into it
	SnapshotFinish  = "snapshot.finish"  // a snapshot is written, and is about to get its name
	SnapshotDone    = "snapshot.done"    // it has it
	RestoreReceived = "restore.received" // a state is received, and is about to be read
	RestoreSwap     = "restore.swap"     // a received state is about to take the place of the old one
	RestoreSwapped  = "restore.swapped"  // its file has; the process has the old one open
	BlobRename      = "blob.rename"      // a blob is written, and is about to get its name
	KEKRename       = "kek.rename"       // a new KEK is written, and is about to get its name
	KEKRenamed      = "kek.renamed"      // it has it
	IdentityRename  = "identity.rename"  // a certificate or key of the node is about to get its name
	IdentityRenamed = "identity.renamed" // it has it
)

// The entries that a leader of such a program appends to the log in the place of one that has the word "poison" in it.
const (
	EntryUnknown = "entry.unknown" // a command that no program knows
	EntryCorrupt = "entry.corrupt" // one whose bytes are not those that were proposed
)

// Points lists the points.
var Points = []string{
	LogStore, LogStored, StateCommit, StateCommitted, JournalSync, JournalSynced, TickSend, TickSent, SnapshotWrite, SnapshotFinish, SnapshotDone,
	RestoreReceived, RestoreSwap, RestoreSwapped, BlobRename, KEKRename, KEKRenamed, IdentityRename, IdentityRenamed,
}
