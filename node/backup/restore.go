package backup

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/graft"
	"github.com/conclave-llm/conclave/node/backup/archive"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/resource"
)

// roomFor is how many copies of a state there must be room for: the backup, the state that is made
// of it, raft's snapshot and the state machine's file.
const roomFor = 5

// Order says how a backup is to be restored.
type Order struct {
	DryRun  bool          `json:"dry_run,omitempty"`
	Foreign bool          `json:"foreign,omitempty"`
	Spend   graft.Spend   `json:"spend,omitempty"`
	Revoked graft.Revoked `json:"revoked,omitempty"`
}

// A restore that was refused for want of a leader is tried again, until leaderWait after it began.
const (
	leaderWait = 10 * time.Second
	leaderLook = 50 * time.Millisecond
)

// Outcome tells what a restore changed, or would.
type Outcome struct {
	Report     *fsm.RestoreReport `json:"report"`
	TakenAt    resource.Time      `json:"taken_at"`
	Generation uint64             `json:"generation"`        // afterwards
	Refused    string             `json:"refused,omitempty"` // by a dry run: why it would be
	Warnings   []string           `json:"warnings,omitempty"`
}

// outcome is the last restore that was done for another node.
type outcome struct {
	token string
	body  []byte
}

// task is a restore that the leader is asked for.
type task struct {
	Order
	Node  string `json:"node"` // that has the file
	Token string `json:"token"`
}

// Restore reads a backup to its end, checks all of it, and puts it in the place of the cluster's
// state. An error that wraps resource.ErrRefused or is a *resource.Invalid says that nothing was
// changed.
func (b *Backups) Restore(ctx context.Context, from io.Reader, o Order) (Outcome, error) {
	f, err := b.temp()
	if err != nil {
		return Outcome{}, err
	}
	defer discard(f)
	if err := b.spool(f, from); err != nil {
		return Outcome{}, refusal(err)
	}
	if err := b.check(f); err != nil {
		return Outcome{}, refusal(err)
	}
	for until := time.Now().Add(leaderWait); ; {
		out, err := b.lead(ctx, f, o)
		if !errors.Is(err, resource.ErrNoLeader) || ctx.Err() != nil || time.Now().After(until) {
			return out, err
		}
		select { // nothing was changed
		case <-ctx.Done():
		case <-time.After(leaderLook):
		}
	}
}

// lead has the leader of this moment restore the file.
func (b *Backups) lead(ctx context.Context, f *os.File, o Order) (Outcome, error) {
	if b.cfg.Cluster.IsLeader() {
		return b.restore(ctx, f, o)
	}
	leader, _, ok := b.cfg.Cluster.Leader()
	if !ok {
		return Outcome{}, fmt.Errorf("restore: %w", resource.ErrNoLeader)
	}
	return b.forward(ctx, leader, f.Name(), o)
}

// spool writes a backup to a file: as much as its manifest says, if there is room for that.
func (b *Backups) spool(f *os.File, from io.Reader) error {
	r, err := archive.NewReader(io.TeeReader(from, f))
	if err != nil {
		return err
	}
	if b.cfg.Room != nil {
		if free := b.cfg.Room(); free != 0 && free < uint64(r.Size) {
			return fmt.Errorf("the backup has %d MiB, and %d are free on this node's disk: %w", r.Size>>20, free>>20, resource.ErrDiskFull)
		}
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, io.LimitReader(from, r.Size-at+1)); err != nil { // what follows the end is noticed
		return fmt.Errorf("receive backup: %w", err)
	}
	return nil
}

// forward has the leader fetch the file and restore it.
func (b *Backups) forward(ctx context.Context, leader, path string, o Order) (Outcome, error) {
	t := task{Order: o, Node: b.cfg.NodeID, Token: rand.Text()}
	b.mu.Lock()
	b.spooled[t.Token] = path
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.spooled, t.Token)
		b.mu.Unlock()
	}()
	body, err := json.Marshal(t)
	if err != nil {
		return Outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	answer, err := b.cfg.Cluster.Call(ctx, leader, methodRestore, body)
	if err != nil {
		return Outcome{}, err
	}
	var out Outcome
	if err := json.Unmarshal(answer, &out); err != nil {
		return Outcome{}, fmt.Errorf("read the leader's answer: %w", err)
	}
	return out, nil
}

// onRestore answers forward. A call that comes again, for its connection broke, gets the answer of
// the first.
func (b *Backups) onRestore(ctx context.Context, peer string, body []byte) ([]byte, error) {
	var t task
	if err := json.Unmarshal(body, &t); err != nil || t.Node != peer {
		return nil, &resource.Invalid{Field: "body", Reason: "is not an order to restore"}
	}
	b.mu.Lock()
	done := b.done
	b.mu.Unlock()
	if done.token == t.Token {
		return done.body, nil
	}
	if !b.cfg.Cluster.IsLeader() {
		return nil, fmt.Errorf("restore: %w", resource.ErrNoLeader)
	}
	f, err := b.temp()
	if err != nil {
		return nil, err
	}
	defer discard(f)
	from := b.remote(ctx, t.Node, reading{Token: t.Token})
	if _, err := io.Copy(f, from); err != nil {
		return nil, err
	}
	out, err := b.restore(ctx, f, t.Order)
	if err != nil {
		return nil, err
	}
	answer, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.done = outcome{t.Token, answer}
	b.mu.Unlock()
	return answer, nil
}

// restore does it, on the leader.
func (b *Backups) restore(ctx context.Context, f *os.File, o Order) (Outcome, error) {
	if !b.restoring.TryLock() {
		return Outcome{}, fmt.Errorf("another restore is under way: %w", resource.ErrRefused)
	}
	defer b.restoring.Unlock()
	backup, m, err := b.receive(f)
	if err != nil {
		return Outcome{}, refusal(err)
	}
	defer backup.Close() //nolint:errcheck // the next start removes what is left
	options := fsm.RestoreOptions{Foreign: o.Foreign, Spend: o.Spend, Revoked: o.Revoked, Open: b.cfg.OpenKey}
	report, err := backup.Compare(options)
	if report == nil {
		return Outcome{}, refusal(err)
	}
	if err == nil {
		err = b.fits(backup.Header())
	}
	out := Outcome{
		Report: report, TakenAt: m.TakenAt, Generation: max(b.cfg.State.Generation(), backup.Header().Generation) + 1,
		Warnings: b.warnings(ctx, report, m, o),
	}
	if o.DryRun {
		if err != nil {
			out.Refused = err.Error()
		}
		return out, nil
	}
	if err != nil {
		return Outcome{}, refusal(err)
	}
	if err := b.keep(f); err != nil {
		return Outcome{}, err
	}
	return out, b.install(ctx, backup, options)
}

// keep stores the bodies of blobs that are in a backup, which was verified: the other nodes fetch them
// from here. They take the place of those that are here, which may be sealed under a data key that
// goes with the state.
func (b *Backups) keep(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := archive.NewReader(f)
	if err != nil {
		return err
	}
	if _, err := r.Snapshot(); err != nil {
		return err
	}
	return r.Bodies(func(body archive.Body, sealed []byte) error { return b.cfg.Blobs.Keep(body.Digest, sealed) })
}

// receive takes a backup aside and verifies every value of it.
func (b *Backups) receive(f *os.File) (*fsm.Backup, *archive.Manifest, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	r, err := archive.NewReader(f)
	if err != nil {
		return nil, nil, err
	}
	if err := r.Open(b.cfg.Keeper); err != nil {
		return nil, nil, err
	}
	body, err := r.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	backup, err := b.cfg.State.Receive(body)
	if err != nil {
		return nil, nil, err
	}
	if err := r.Verify(); err != nil {
		return nil, nil, errors.Join(err, backup.Close())
	}
	return backup, &r.Manifest, nil
}

// install makes the state and has the cluster take it. Who asked may hang up meanwhile: it goes on.
func (b *Backups) install(ctx context.Context, backup *fsm.Backup, o fsm.RestoreOptions) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rpcTimeout)
	defer cancel()
	f, err := b.temp()
	if err != nil {
		return err
	}
	defer discard(f)
	return b.cfg.Cluster.Install(ctx, func() (consensus.State, error) {
		if err := backup.Graft(o); err != nil {
			return consensus.State{}, refusal(err)
		}
		if err := backup.Write(f); err != nil {
			return consensus.State{}, fmt.Errorf("%w: %w", err, resource.ErrRefused)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return consensus.State{}, err
		}
		h, err := fsm.ReadHeader(f)
		if err != nil {
			return consensus.State{}, err
		}
		_, err = f.Seek(0, io.SeekStart)
		return consensus.State{Header: h, Body: f}, err
	})
}

// refusal gives an error that says why nothing was changed a form that reaches whoever asked.
func refusal(err error) error {
	switch {
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, fsm.ErrDamaged):
		return &resource.Invalid{Field: "file", Reason: err.Error()}
	case errors.Is(err, archive.ErrKEK), errors.Is(err, fsm.ErrForeign), errors.Is(err, fsm.ErrRevoked), errors.Is(err, fsm.ErrKey):
		return fmt.Errorf("%w: %w", err, resource.ErrRefused)
	}
	return err
}

// fits refuses what the nodes' programs or this node's disk cannot take.
func (b *Backups) fits(h fsm.Header) error {
	for _, m := range b.cfg.State.Catalog().Tables().Members {
		if !m.Removed && max(1, m.FSMVersion) < h.FSMVersion {
			return fmt.Errorf("the backup needs version %d of the state machine, and node %s runs up to %d: %w", h.FSMVersion, m.Name, max(1, m.FSMVersion), resource.ErrRefused)
		}
	}
	if b.cfg.Room == nil {
		return nil
	}
	if free := b.cfg.Room(); free != 0 && free/roomFor < h.Size {
		return fmt.Errorf("a restore needs %d MiB on this leader's disk, %d are free: %w", roomFor*h.Size>>20, free>>20, resource.ErrDiskFull)
	}
	return nil
}

// warnings tells what a restore does not bring back, or brings back though it was gone.
func (b *Backups) warnings(ctx context.Context, r *fsm.RestoreReport, m *archive.Manifest, o Order) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.RevokedCount > 0 {
		what := map[graft.Revoked]string{graft.RevokedBlock: "come back blocked", graft.RevokedRevive: "WORK AGAIN", "": "would work again"}[o.Revoked]
		say("%d keys or holders of keys that were revoked since the backup %s", r.RevokedCount, what)
	}
	if r.Foreign {
		say("the backup is another cluster's: keys that were revoked there since it was made work here")
	}
	if o.Spend == graft.SpendAsOfBackup {
		say("what was spent since the backup is forgotten; budgets that it used up are open again")
	} else {
		out = append(out, b.replay(ctx, r)...)
	}
	for _, id := range r.Erasures {
		say("erasure %s came after the backup, which has the person still: order it again", id)
	}
	for _, d := range r.Bodies {
		if slices.ContainsFunc(m.Blobs, func(b archive.Body) bool { return b.Digest == d }) {
			continue
		}
		say("the body of the blob %s is neither in the backup nor here: put it again", d)
	}
	return out
}

// replay tells of what the nodes' journals cannot give back.
func (b *Backups) replay(ctx context.Context, r *fsm.RestoreReport) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	answers := b.ask(ctx, methodReach, nil)
	for _, n := range r.Nodes {
		name := n.ID
		if m, ok := b.cfg.State.Member(n.ID); ok {
			name = m.Name
		}
		oldest, known := b.cfg.Reach(), n.ID == b.cfg.NodeID
		if a, ok := answers[n.ID]; ok && a.err == nil && len(a.body) == 8 {
			oldest, known = binary.BigEndian.Uint64(a.body), true
		}
		switch {
		case n.Gone:
			say("node %s was removed since the backup: what it spent after it is lost", name)
		case !known:
			say("node %s does not answer: nothing is granted until it has told what it spent, or is removed", name)
		case oldest > n.After+1:
			say("the journal of node %s begins at record %d and the backup ends at %d: what it spent in between is lost", name, oldest, n.After)
		}
	}
	return out
}

func (b *Backups) onReach(context.Context, string, []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, b.cfg.Reach()), nil
}
