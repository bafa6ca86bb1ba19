package ledger

import (
	"os"
	"syscall"
)

// datasync waits until the file's bytes and size are on disk.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
