package nodetest_test

import (
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/nodetest"
)

func TestStart(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	c := nodetest.Start(t, 3)
	took := time.Since(begin)
	t.Logf("three nodes in %s", took)
	if took > 30*time.Second { // 0.6 s on two idle cores
		t.Errorf("start took %s", took)
	}
	k := c.Key(0, nodetest.Fields{"name": "k"})
	for _, n := range c.Nodes {
		if status, body := n.Chat(k.Secret); status != 200 {
			t.Errorf("chat through %s: %d %s", n.Name, status, body)
		}
	}
	s := c.Nodes[1].Stream(k.Secret, nil)
	defer s.Close()
	if s.Status != 200 || s.Next() == "" {
		t.Errorf("stream: status %d, no event", s.Status)
	}
	s.Rest()
}

func TestNode_CutAndKill(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	old := c.Leader()
	begin := time.Now()
	old.Cut()
	c.Await("the others elect a leader", func() bool { return c.Leader() != old })
	t.Logf("a new leader after %s", time.Since(begin))
	c.Await("the cut leader steps down", func() bool { return old.Leader() == "" })
	old.Heal()
	c.Await("it follows again", func() bool { return old.Leader() != "" })
	old.Kill()
	begin = time.Now()
	old.Start()
	t.Logf("started again in %s", time.Since(begin))
}
