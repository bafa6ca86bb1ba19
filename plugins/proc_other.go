//go:build !linux

package plugins

import (
	"errors"
	"net"
	"os"
)

// selfExe is empty where the running binary has no such name: os.Executable is asked.
const selfExe = ""

// fdPath is the file that the child has open as fd.
func fdPath(int) string { return "" }

func residentBytes(int) (int64, error) { return 0, errors.ErrUnsupported }

// stands is not known here: what stands is silent, too.
func stands(int) bool { return false }

// idle is not known here: silence is judged after Config.HungAfter only.
func idle(int) bool { return false }

func checkPeer(*net.UnixConn, int) error {
	if os.Geteuid() < 0 {
		return errors.ErrUnsupported
	}
	return nil // the folder's mode is the check
}
