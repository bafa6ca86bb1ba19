package builtin

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dropCode gives back the memory that this process's code and constants take. What it still
// needs of them it gets again from the system's cache of the file, page by page; what only
// the start of the program needed, which is most of it, stays away.
func dropCode() error {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	for _, m := range codeMappings(maps) {
		// The runtime has no slice over these pages, and MADV_DONTNEED reads none.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("drop pages %x-%x: %w", m.start, m.end, errno)
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// codeMappings are the mappings of files in the text of a /proc/PID/smaps that can be dropped:
// nobody can write to them and nobody has. A page that was written before its mapping was made
// read-only, as a dynamic linker does, has no other copy. See proc_pid_smaps(5).
func codeMappings(smaps []byte) []mapping {
	var found []mapping
	var m mapping
	candidate := false
	for line := range bytes.Lines(smaps) {
		var start, end, inode uint64
		var offset, perms, device string
		if n, _ := fmt.Sscanf(string(line), "%x-%x %4s %s %s %d", &start, &end, &perms, &offset, &device, &inode); n == 6 {
			m = mapping{uintptr(start), uintptr(end)}
			candidate = inode != 0 && (perms == "r--p" || perms == "r-xp")
			continue
		}
		var anonymous int
		if n, _ := fmt.Sscanf(string(line), "Anonymous: %d kB", &anonymous); n == 1 && candidate && anonymous == 0 {
			found = append(found, m)
		}
	}
	return found
}
