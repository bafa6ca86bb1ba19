//go:build !conclave_fault

package fault

// Compact is 0: Raft's log is compacted as it is configured.
func Compact() uint64 { return 0 }
