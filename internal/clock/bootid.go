package clock

import (
	"os"
	"strings"
)

// BootID names the machine's run, within which times of Boot can be compared. It is "" where the
// system has no such id, which equals nothing.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
