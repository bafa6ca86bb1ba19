package clock

import (
	"syscall"
	"time"
	"unsafe"
)

// clockBoottime is CLOCK_BOOTTIME of clock_gettime(2).
const clockBoottime = 7

// boot asks the kernel; package syscall has no wrapper for clock_gettime.
func boot() (time.Duration, bool) {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0) //nolint:gosec // the address of a local struct, as the system call wants it
	if errno != 0 {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
