package auditlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/resource"
)

// sink takes entries in their order. It is used by one goroutine.
type sink interface {
	// deliver returns how many of the lines, from the first, were taken.
	deliver(ctx context.Context, lines []audit.Line) (int, error)
	// receipts says that what is taken is safe. Else it is when the lines behind it are taken, or settled says so.
	receipts() bool
	// settled says whether all that was taken is safe, and sends again what may be lost.
	settled(ctx context.Context) (bool, error)
	close()
}

// newSink makes the sink of a configuration.
func (k *Keeper) newSink(s resource.AuditSink) sink {
	switch s.Kind {
	case resource.SinkFile:
		path := s.Path
		if !filepath.IsAbs(path) {
			path = filepath.Join(k.cfg.Dir, path)
		}
		return file(path)
	case resource.SinkSyslog:
		return newSyslog(s, k.cfg.Dial)
	default:
		return plugin{name: s.Callback, deliverTo: k.cfg.Callback}
	}
}

// file appends lines of JSON to the file at a path. It is opened for each delivery, so that
// it may be moved away at any time.
type file string

func (f file) deliver(_ context.Context, lines []audit.Line) (int, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range lines {
		if err := enc.Encode(&lines[i]); err != nil {
			return 0, fmt.Errorf("encode audit entry: %w", err)
		}
	}
	w, err := os.OpenFile(string(f), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open audit file: %w", err)
	}
	err = endLine(w)
	if err == nil {
		_, err = w.Write(b.Bytes())
	}
	if err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return 0, fmt.Errorf("write audit file: %w", err)
	}
	return len(lines), nil
}

func (file) receipts() bool                        { return true }
func (file) settled(context.Context) (bool, error) { return true, nil }
func (file) close()                                {}

// endLine takes away what a crash left of a line: the entry comes again, whole.
func endLine(f *os.File) error {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 || !st.Mode().IsRegular() {
		return err
	}
	end := st.Size()
	buf := make([]byte, 4096)
	for at := end; at > 0; {
		n := min(at, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], at-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			if whole := at - n + int64(i) + 1; whole < end {
				return f.Truncate(whole)
			}
			return nil
		}
		at -= n
	}
	return f.Truncate(0)
}

// plugin hands entries to a callback of the cluster.
type plugin struct {
	name      string
	deliverTo func(ctx context.Context, callback string, entries []resource.AuditEntry) (int, error)
}

func (p plugin) deliver(ctx context.Context, lines []audit.Line) (int, error) {
	if p.deliverTo == nil {
		return 0, errors.New("this node runs no callbacks")
	}
	entries := make([]resource.AuditEntry, len(lines))
	for i := range lines {
		entries[i] = lines[i].AuditEntry
	}
	return p.deliverTo(ctx, p.name, entries)
}

func (plugin) receipts() bool                        { return true }
func (plugin) settled(context.Context) (bool, error) { return true, nil }
func (plugin) close()                                {}
