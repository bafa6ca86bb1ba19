package node_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/consensus/recovery"
	"github.com/conclave-llm/conclave/node/nodetest"
)

func TestRecover(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	k := c.Key(0, fields{"name": "k", "budgets": []any{fields{"usd": 100}}})
	chats(t, c, k.Secret, 9)
	bill := c.Bill()
	awaitBooks(t, c, k.ID, bill)
	survivor := c.Nodes[0]
	open := func() (*recovery.Survivor, error) { return recovery.Open(recovery.Config{Dir: survivor.Dir}) }
	if _, err := open(); !errors.Is(err, recovery.ErrRuns) {
		t.Fatalf("while the node runs: got %v", err)
	}
	survivor.Stop()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Meet(t.Context()); !errors.Is(err, recovery.ErrAlive) {
		t.Errorf("while the others run: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes[1:] {
		n.Kill()
	}
	// What other systems take for an order is none here.
	stray := filepath.Join(survivor.Dir, "raft", "peers.json")
	if err := os.WriteFile(stray, []byte(`[{"id": "x", "address": "127.0.0.1:1"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	survivor.Launch()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := survivor.Admin().Keys().Create(ctx, fields{"name": "no"}); err == nil {
		t.Error("a node alone took a change")
	}
	survivor.Stop()

	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	if err := s.Meet(t.Context()); err != nil {
		t.Errorf("nobody else is there: got %v", err)
	}
	index := s.Index()
	r, err := s.Recover()
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if r.Index != index || len(r.Lost) != 2 || r.Generation != 1 {
		t.Errorf("got %+v, want index %d, generation 1 and two lost nodes", r, index)
	}
	if _, err := open(); !errors.Is(err, recovery.ErrNothing) {
		t.Errorf("a second time: got %v", err)
	}
	survivor.Start()
	awaitBooks(t, c, k.ID, bill)
	c.Await("the survivor serves", func() bool {
		status, _ := survivor.Chat(k.Secret)
		return status == 200
	})
	if st, err := survivor.Admin().Keys().One(t.Context(), k.ID); err != nil || len(st.Accounts) != 1 || dollars(t, st.Accounts[0].Presumed) == 0 {
		t.Errorf("the lost nodes' leases are not presumed spent: %+v, %v", st.Accounts, err)
	}
	c.Key(0, fields{"name": "after"})
	if _, body := survivor.Do("GET", "/api/v1/audit?action=recover", nodetest.MasterKey, nil); !bytes.Contains(body, []byte(`"recover"`)) {
		c.Await("the recovery is in the audit log", func() bool {
			_, body := survivor.Do("GET", "/api/v1/audit?action=recover", nodetest.MasterKey, nil)
			return bytes.Contains(body, []byte(`"recover"`))
		})
	}
	other, err := recovery.Open(recovery.Config{Dir: c.Nodes[1].Dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Meet(t.Context()); !errors.Is(err, recovery.ErrAlive) || !strings.Contains(err.Error(), "goes on at "+survivor.Address+" without this node") {
		t.Errorf("a recovery of another node afterwards: got %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	joined := c.Join()
	c.Await("a new node serves", func() bool {
		status, _ := joined.Chat(k.Secret)
		return status == 200
	})
	awaitBooks(t, c, k.ID, c.Bill())
}
