package requestlog

import (
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// forgetPages gives back the memory of the pages of bbolt's file that this process has looked
// at; the system's cache still has them. bbolt maps its whole file, and a walk over all rows
// would leave all of it in this process. The mapping is read-only and shared, so a page that
// is needed again, by anybody, comes back as it was; while tx is open bbolt does not move it.
func forgetPages(tx *bolt.Tx) {
	data, size := tx.DB().Info().Data, uintptr(tx.Size())
	// MADV_DONTNEED reads nothing there. If it fails, the process is larger than it need be.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, data, size, unix.MADV_DONTNEED)
}
