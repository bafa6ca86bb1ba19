// Package versions is the programs that a node has in its data folder, and which of them runs:
//
//	DATA/versions/SHA256          a program, 0500, checked against its name before each start
//	DATA/versions/versions.json   which one is current, which is on trial
//
// The program that the operator installed is not there; it is what starts first, and it hands
// over to the current one. A program on trial becomes current when the cluster calls it good. A
// node that dies before that starts what it ran before.
package versions

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/resource"
)

const fileState = "versions.json"

// ErrDamaged says that a program is not the one that its name says.
var ErrDamaged = errors.New("the program is damaged")

// State is what versions.json says.
type State struct {
	Installed string `json:"installed"` // SHA-256 of the operator's program, when Current was chosen
	Current   string `json:"current"`   // "": the operator's
	Previous  string `json:"previous"`  // what ran before Current; "": the operator's
	Rollout   string `json:"rollout"`   // that brought Current; "": none did
	Trial     *Trial `json:"trial,omitempty"`
	Failed    *Trial `json:"failed,omitempty"` // the last one, and why
}

// Trial is a program that is being tried.
type Trial struct {
	Program string        `json:"program"`
	Rollout string        `json:"rollout"`
	Limit   time.Duration `json:"limit"` // until it must be called good
	Reason  string        `json:"reason,omitempty"`
}

// Store is the folder of one node. One process at a time writes it.
type Store struct {
	dir string
	mu  sync.Mutex // serialises changes
}

// New returns the store of a data folder; nothing is made before it is needed.
func New(dataDir string) *Store { return &Store{dir: filepath.Join(dataDir, "versions")} }

// Path is where a program is.
func (s *Store) Path(program string) string { return filepath.Join(s.dir, program) }

// State reads what was written last; the zero State if nothing was.
func (s *Store) State() (State, error) {
	var st State
	b, err := os.ReadFile(filepath.Join(s.dir, fileState))
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		return State{}, fmt.Errorf("read the node's versions: %w", err)
	}
	return st, nil
}

// Update changes the state and returns it.
func (s *Store) Update(change func(*State)) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.State()
	if err != nil {
		return st, err
	}
	change(&st)
	b, err := json.MarshalIndent(&st, "", "  ")
	if err != nil {
		return st, err
	}
	return st, s.write(fileState, 0o600, func(f *os.File) error {
		_, err := f.Write(append(b, '\n'))
		return err
	})
}

// Begin puts a program on trial.
func (s *Store) Begin(t Trial) error {
	_, err := s.Update(func(st *State) { st.Trial, st.Failed = &t, nil })
	return err
}

// Confirm makes the program that is on trial the current one. installed is the digest of the
// operator's.
func (s *Store) Confirm(rollout, installed string) error {
	now, err := s.State()
	if err != nil || now.Trial == nil || now.Trial.Rollout != rollout {
		return err
	}
	st, err := s.Update(func(st *State) {
		st.Installed, st.Previous, st.Current, st.Rollout = installed, st.Current, st.Trial.Program, rollout
		st.Trial = nil
	})
	if err != nil {
		return err
	}
	return s.prune(st)
}

// Fail ends a trial: what ran before goes on.
func (s *Store) Fail(reason string) error {
	_, err := s.Update(func(st *State) {
		if st.Trial != nil {
			st.Failed, st.Trial = st.Trial, nil
			st.Failed.Reason = reason
		}
	})
	return err
}

// Revert goes back to what ran before a rollout.
func (s *Store) Revert(rollout string) error {
	_, err := s.Update(func(st *State) {
		st.Trial = nil
		if st.Rollout == rollout {
			st.Current, st.Previous, st.Rollout = st.Previous, "", ""
		}
	})
	return err
}

// Forget lets the operator's program run, whatever there is.
func (s *Store) Forget() error {
	_, err := s.Update(func(st *State) { *st = State{} })
	return err
}

// Add writes a program, if its bytes have the digest.
func (s *Store) Add(program string, size int64, body io.Reader) error {
	if !resource.ValidDigest(program) {
		return fmt.Errorf("%q is no digest: %w", program, ErrDamaged)
	}
	if s.Check(program) == nil {
		return nil
	}
	h := sha256.New()
	return s.write(program, 0o500, func(f *os.File) error {
		n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(body, size+1))
		if err == nil && (n != size || hex.EncodeToString(h.Sum(nil)) != program) {
			err = fmt.Errorf("program %s: %w", program, ErrDamaged)
		}
		return err
	})
}

// Check reads a program and says whether it is what its name says.
func (s *Store) Check(program string) error {
	if !resource.ValidDigest(program) {
		return fmt.Errorf("%q is no digest: %w", program, ErrDamaged)
	}
	sum, err := Sum(s.Path(program))
	if err == nil && sum != program {
		err = fmt.Errorf("program %s: %w", program, ErrDamaged)
	}
	return err
}

// Sum is the SHA-256 of a file, hexadecimal.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// write makes a file as a whole: after a crash the old one or the new one is there.
func (s *Store) write(name string, mode fs.FileMode, fill func(*os.File) error) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of versions: %w", err)
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err = errors.Join(fill(f), f.Chmod(mode)); err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, durable.Discard(f)))
	}
	if err := durable.Commit(f, filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// prune removes programs that nothing names any more, and what a crash left behind.
func (s *Store) prune(st State) error {
	all, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("look for old versions: %w", err)
	}
	keep := []string{fileState, st.Current, st.Previous}
	if st.Trial != nil {
		keep = append(keep, st.Trial.Program)
	}
	var errs []error
	for _, e := range all {
		if !slices.Contains(keep, e.Name()) {
			errs = append(errs, os.Remove(filepath.Join(s.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
