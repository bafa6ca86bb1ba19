//go:build conclave_fault

package fault

import (
	"os"
	"strconv"
)

// Compact is after how many entries Raft makes a snapshot, and how many its log keeps behind it; 0: as
// it is configured.
func Compact() uint64 {
	n, _ := strconv.ParseUint(os.Getenv(CompactVariable), 10, 64)
	return n
}
