// Package live tortures a cluster of real processes: an upstream that keeps the true bill, clients
// that spend, administrators that make, block and delete keys, and faults that a seed chooses. All
// that was seen is written into a folder, and Check decides from those files alone whether the
// cluster kept its promises, so that anybody can check a report again.
//
//	run.json         seed, length, nodes, program, what could not be done here
//	schedule.jsonl   the faults, as planned by the seed, with when they were done
//	history.jsonl    what administrators did with keys, with call, return and outcome
//	uses.jsonl       requests with the keys that are blocked and deleted
//	exits.jsonl      processes that ended without being asked to
//	bill.json        what the upstream billed, by model
//	ledger.json      the books, the keys and the state of every node when all faults were over
//	restores.jsonl   what became of what was done between a backup and its restore
//	probes.jsonl     what requests took with and without a quorum
//	usage.jsonl      memory, goroutines, files and disk of every node, all the time
//	looks.jsonl      how far each node said to be, and what it had of a key, all the time
//	logs.jsonl       what tells the entries of the nodes' logs apart, when all were stopped
//	state.snap       a backup of the state when all faults were over
//	nodes/NAME.log   what each node wrote
package live
