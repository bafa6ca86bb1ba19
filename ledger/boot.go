package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/internal/durable"
)

// boot is the file beside the segments that tells the next process whether they are whole.
// A write error removes it.
type boot struct {
	ID    string `json:"boot_id"` // of the machine's run that wrote the segments
	Mode  Mode   `json:"mode"`
	Clean bool   `json:"clean"` // the process synced and stopped

	// Torn says that a process opened the journal and found it not whole, and has not
	// learned its epoch yet. Then all epochs below LostBelow are known to have lost records.
	Torn      bool   `json:"torn,omitempty"`
	LostBelow uint64 `json:"lost_below,omitempty"`
	Known     uint64 `json:"known,omitempty"` // damage below the number is what LostBelow tells of
}

func (j *Journal) bootPath() string { return filepath.Join(j.cfg.Dir, "boot.json") }

// openBoot judges what the last process left and writes this one's file.
func (j *Journal) openBoot(lost uint64) error {
	var old boot
	missing := false
	b, err := os.ReadFile(j.bootPath())
	switch {
	case err == nil:
		err = json.Unmarshal(b, &old)
	case errors.Is(err, os.ErrNotExist):
		err = nil
		missing = len(j.segments) > 0
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", j.bootPath(), err)
	}
	sameRun := old.ID != "" && old.ID == j.cfg.BootID
	damaged := missing || (lost > 0 && lost >= old.Known)
	whole := !damaged && (len(j.segments) == 0 || old.Clean || old.Mode == ModeFsync || sameRun)
	j.boot = boot{ID: j.cfg.BootID, Mode: j.cfg.Mode, Torn: old.Torn || !whole, LostBelow: old.LostBelow, Known: old.Known}
	return j.writeBoot(j.boot)
}

// settleBoot tells that the process has the epoch: if records were lost, it was from
// epochs before.
func (j *Journal) settleBoot(epoch uint64) error {
	j.bootMu.Lock()
	defer j.bootMu.Unlock()
	if !j.boot.Torn {
		return nil
	}
	j.boot.Torn, j.boot.LostBelow, j.boot.Known = false, epoch, j.started
	return j.writeBoot(j.boot)
}

// closeBoot tells that the process synced and stopped.
func (j *Journal) closeBoot() error {
	j.bootMu.Lock()
	defer j.bootMu.Unlock()
	if j.Err() != nil {
		return nil
	}
	b := j.boot
	b.Clean = true
	return j.writeBoot(b)
}

// forgetBoot makes the next process take the journal as not whole.
func (j *Journal) forgetBoot() {
	if err := os.Remove(j.bootPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		j.cfg.Logger.Error("journal's boot file could not be removed", "path", j.bootPath(), "error", err)
	}
}

func (j *Journal) writeBoot(v boot) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.WriteFile(j.bootPath(), append(b, '\n'))
}

// Whole says that the journal holds all that this node wrote in the epoch, an earlier one
// than that of this process: the machine has not been restarted since, or every record had
// been synced, and there was neither a write error nor damage. Only then may what the
// epoch still holds be dropped.
func (j *Journal) Whole(epoch uint64) bool {
	j.bootMu.Lock()
	defer j.bootMu.Unlock()
	return !j.boot.Torn && epoch >= j.boot.LostBelow
}
