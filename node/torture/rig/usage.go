package rig

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// filler is the file that fills a Volume.
const filler = "filler"

// Usage is what a process has of the machine.
type Usage struct {
	RSS       int64 // bytes
	FDs       int
	Threads   int
	Processor time.Duration // since the process began
}

// tick is the system's unit of the time that a process had.
const tick = 10 * time.Millisecond

// Usage asks the system.
func (p *Process) Usage() (u Usage, err error) {
	dir := fmt.Sprint("/proc/", p.PID())
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return u, err
	}
	u.FDs = len(files)
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")) // 0 of lines that are no numbers
		switch name {
		case "VmRSS":
			u.RSS = int64(n) << 10
		case "Threads":
			u.Threads = n
		}
	}
	stat, err := fields(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	for _, at := range []int{11, 12} { // utime and stime
		n, err := strconv.Atoi(stat[at])
		if err != nil {
			return u, fmt.Errorf("read what the process has used: %w", err)
		}
		u.Processor += time.Duration(n) * tick
	}
	return u, nil
}

// fields are those of a process's stat after its name.
func fields(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(list) < 13 {
		return nil, fmt.Errorf("%s has %d fields", path, len(list))
	}
	return list, nil
}

// Size is how many bytes the files below a folder take. Files that go meanwhile count for nothing.
func Size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == filler {
			return nil //nolint:nilerr // it is gone
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// Children are the processes of this one, and those that lost their parent since Adopt, by id: what runs there. Dead ones do not count.
func Children() (map[int]string, error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	out := map[int]string{}
	for _, path := range all {
		stat, err := fields(path)
		if err != nil || stat[0] == "Z" || stat[1] != strconv.Itoa(os.Getpid()) { // it has ended, or is another's
			continue
		}
		dir := filepath.Dir(path)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // nothing: it has just ended
		out[pid] = string(bytes.TrimSpace(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return out, nil
}
