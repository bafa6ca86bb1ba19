package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conclave-llm/conclave/internal/durable"
)

// startedFile is beside Raft's folder and not in it, to outlive the folder's loss.
const startedFile = "raft.started"

// Started says that a node with this data folder once had state: if that is gone, the node
// has forgotten its term and its vote.
func Started(dataDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dataDir, startedFile))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look at the data folder: %w", err)
	}
}

// MarkStarted makes Started true from now on.
func MarkStarted(dataDir string) error {
	if old, err := Started(dataDir); old || err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dataDir, startedFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark the data folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), durable.SyncDir(dataDir)); err != nil {
		return fmt.Errorf("mark the data folder: %w", err)
	}
	return nil
}
