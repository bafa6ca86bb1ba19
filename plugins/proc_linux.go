package plugins

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// selfExe is this binary, also after its file was replaced.
const selfExe = "/proc/self/exe"

// fdPath is the file that the child has open as fd.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// residentBytes is the memory that a process has in RAM.
func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, errors.New("statm is too short")
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// stands says whether a signal has stopped the process. A debugger that looks at it has not.
func stands(pid int) bool { return stateIn(fmt.Sprintf("/proc/%d/stat", pid)) == 'T' }

// idle says whether no thread of the process runs, waits for its turn at a processor, or for memory or a disk. It is false of one that has ended.
func idle(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, t := range threads {
		if s := stateIn(t); s == 'R' || s == 'D' {
			return false
		}
	}
	return true
}

// stateIn reads the letter of a state, 0 without one.
func stateIn(path string) byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0 // it has ended, which is seen elsewhere
	}
	_, rest, _ := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" ")) // behind the name, which may hold anything
	if len(rest) == 0 {
		return 0
	}
	return rest[0]
}

// checkPeer refuses a socket that is not served by the process group of the plugin.
func checkPeer(conn *net.UnixConn, pid int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	group, err := unix.Getpgid(int(cred.Pid))
	if err != nil || group != pid || int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("socket belongs to process %d of user %d, not to the plugin", cred.Pid, cred.Uid)
	}
	return nil
}
