package segment

import (
	"os"
	"syscall"
)

// Datasync waits until the file's bytes and size are on disk.
func Datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fdatasync(int(fd)); failed != syscall.EINTR {
				return
			}
		}
	})
	if err != nil { // the one reason that Control has
		return os.ErrClosed
	}
	return os.NewSyscallError("fdatasync", failed)
}
