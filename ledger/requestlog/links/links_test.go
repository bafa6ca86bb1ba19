package links_test

import (
	"testing"

	"github.com/conclave-llm/conclave/ledger/requestlog/links"
)

// TestChain_golden keeps the hashes of segments that exist: they are never computed otherwise.
func TestChain_golden(t *testing.T) {
	t.Parallel()
	c, err := links.Start("n1", "")
	if err != nil {
		t.Fatal(err)
	}
	c.Add([]byte(`{"number":2}`))
	link := c.Add([]byte(`{"number":4}`))
	const wantLink, wantSum = uint64(9691481506520921188), "30584f0ac2b805e8fc3b85960aaa7345023e11066d6080c2b20c998fd6790599"
	if link != wantLink || c.String() != wantSum {
		t.Errorf("got link %d and sum %s, want %d and %s", link, c, wantLink, wantSum)
	}
	again, err := links.Start("n1", c.String())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := again.Add([]byte("x")), c.Add([]byte("x")); a == b || again.String() != c.String() {
		t.Errorf("after a restart: links %d and %d, sums %s and %s", a, b, again, c)
	}
}

func TestStart_refusals(t *testing.T) {
	t.Parallel()
	for _, previous := range []string{"x", "abcd", "00" + string(make([]byte, 62))} {
		if _, err := links.Start("n1", previous); err == nil {
			t.Errorf("Start(%q) is accepted", previous)
		}
	}
}
