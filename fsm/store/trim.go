package store

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// trimFrom is how much of files may be mapped by the process before the state's file is
	// unmapped again.
	trimFrom = 256 << 20
	// trimEvery is how often that is looked at. A fill touches some 200 MiB a second.
	trimEvery = time.Second
	// sweepFrom is the size of a file that leaves enough garbage behind when it is read at start
	// to be worth a collection.
	sweepFrom = 64 << 20
)

// keepSmall looks after the mapped size until the file is closed.
func (f *File) keepSmall() {
	defer close(f.trimmed)
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	swept := f.size() < sweepFrom
	for {
		select {
		case <-f.stop:
			return
		case <-tick.C:
			if mapped() > trimFrom {
				f.Trim()
			}
			if !swept {
				swept = true
				debug.FreeOSMemory() // what reading the file left behind
			}
		}
	}
}

// size is how large the file is.
func (f *File) size() (n int64) {
	_ = f.View(func(tx *bolt.Tx) error { n = tx.Size(); return nil }) // a closed file has none
	return n
}

// Trim tells the system that the process does not need the file's pages. They stay in the
// page cache, and one that is read again is mapped again, but none counts as memory of the
// process, which would otherwise come to be as large as the file.
func (f *File) Trim() {
	err := f.View(func(tx *bolt.Tx) error { return trim(tx.DB().Info().Data, tx.Size()) }) // the mapping stays while tx lives
	if err != nil {
		f.log.Warn("unmap the state's file", "error", err)
	}
}

// mapped is how many bytes of files are in the memory of the process, 0 if the system does not
// tell.
func mapped() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 3 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[2]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
