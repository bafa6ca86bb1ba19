package rig

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// filler is the file that fills a Volume.
const filler = "filler"

// Usage is what a process has of the machine.
type Usage struct {
	RSS     int64 // bytes
	FDs     int
	Threads int
}

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
	return u, nil
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
		text, err := os.ReadFile(path)
		at := bytes.LastIndexByte(text, ')') + 2
		if err != nil || at < 2 {
			continue // it has ended
		}
		fields := strings.Fields(string(text[at:]))
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(os.Getpid()) {
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
