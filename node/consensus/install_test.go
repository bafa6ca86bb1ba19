package consensus_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/resource"
)

// image is a snapshot as raft's sinks take it.
type image struct{ bytes.Buffer }

func (*image) ID() string    { return "" }
func (*image) Close() error  { return nil }
func (*image) Cancel() error { return nil }

// restored makes the state that a restore of b installs.
func restored(t *testing.T, m *machine, b []byte) (consensus.State, error) {
	t.Helper()
	backup, err := m.fsm.Receive(bytes.NewReader(b))
	if err != nil {
		return consensus.State{}, err
	}
	defer backup.Close() //nolint:errcheck // its folder is removed
	if err := backup.Graft(fsm.RestoreOptions{}); err != nil {
		return consensus.State{}, err
	}
	var out bytes.Buffer
	if err := backup.Write(&out); err != nil {
		return consensus.State{}, err
	}
	h, err := fsm.DecodeHeader(out.Bytes()[:fsm.HeaderSize])
	return consensus.State{Header: h, Body: &out}, err
}

func (m *machine) backup() []byte {
	m.t.Helper()
	s, err := m.fsm.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	defer s.Release()
	var out image
	if err := s.Persist(&out); err != nil {
		m.t.Fatal(err)
	}
	return out.Bytes()
}

// TestInstall_LeadershipLost parts the leader from the others in the moment in which the backup takes
// the place of its state. The others go on without it; the old leader finds out, takes their
// state, and says that nothing was changed. The next try goes well, on every node.
func TestInstall_LeadershipLost(t *testing.T) {
	t.Parallel()
	ms := trio(t)
	l, x, y := apart(t, ms)
	saved := l.backup()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- l.node.Install(ctx, func() (consensus.State, error) {
			s, err := restored(t, l, saved)
			l.cut.Store(true)
			return s, err
		})
	}()
	eventually(t, "the others go on", func() bool { return x.node.IsLeader() || y.node.IsLeader() })
	eventually(t, "the old leader has the backup", func() bool { return l.fsm.Generation() == 1 })
	next := leader(t, []*machine{x, y})
	if _, err := next.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.PutSetting{Setting: setting(t, "log_content", "true")}); err != nil {
		t.Fatal(err)
	}
	l.cut.Store(false)
	if err := <-done; !errors.Is(err, resource.ErrNoLeader) {
		t.Errorf("got %v, want ErrNoLeader", err)
	}
	same := func(generation uint64) func() bool {
		return func() bool {
			index, hash := next.fsm.Hash()
			for _, m := range ms {
				if i, h := m.fsm.Hash(); i != index || h != hash || m.fsm.Generation() != generation {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "all have the state of the others", same(0))
	lead := leader(t, ms)
	if err := lead.node.Install(ctx, func() (consensus.State, error) { return restored(t, lead, saved) }); err != nil {
		t.Fatal(err)
	}
	next = lead
	eventually(t, "all have the backup", same(1))
	if _, err := lead.node.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.PutSetting{Setting: setting(t, "log_content", "false")}); err != nil {
		t.Error(err)
	}
}

// setting is one as a command has it.
func setting(t *testing.T, id, value string) fsm.Encoded[resource.Setting] {
	t.Helper()
	e, err := fsm.EncodedOf(resource.Setting{Meta: resource.Meta{ID: id}, Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
