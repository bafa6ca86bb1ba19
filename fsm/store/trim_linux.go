package store

import (
	"os"
	"syscall"
)

// trim drops size bytes of a shared mapping of a file from the memory of the process.
func trim(data uintptr, size int64) error {
	page := int64(os.Getpagesize())
	size = (size + page - 1) / page * page
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, data, uintptr(size), syscall.MADV_DONTNEED)
	if errno != 0 {
		return os.NewSyscallError("madvise", errno)
	}
	return nil
}
