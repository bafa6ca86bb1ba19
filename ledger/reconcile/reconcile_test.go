package reconcile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger/reconcile"
	"github.com/conclave-llm/conclave/resource"
)

const usd = resource.Dollar

func TestCompare(t *testing.T) {
	t.Parallel()
	ours := []reconcile.Entry{
		{RequestID: "a", Day: "2026-03-01", Model: "m1", Cost: usd, Requests: 1, Input: 10, Output: 5},
		{RequestID: "b", Day: "2026-03-01", Model: "m2", Cost: 2 * usd, Requests: 1, Input: 10, Output: 5},
		{RequestID: "c", Day: "2026-03-02", Model: "m1", Cost: 3 * usd, Requests: 1, Input: 10, Output: 5},
	}
	for _, tt := range []struct {
		name, bill string
		matched    int
		whys       []string
	}{
		{"requests that agree", "request_id,cost\na,1\nb,2.00\nc,3\n", 3, nil},
		{"one is missing here", "request_id,cost\na,1\nb,2\nc,3\nd,4\n", 3, []string{"is billed and not recorded"}},
		{"one is missing there", "Request ID,Cost USD\na,$1\nb,2\n", 2, []string{"is recorded and not billed"}},
		{"tokens differ", "request_id,cost,input_tokens\na,1.5,15\nb,2,10\nc,3,10\n", 2, []string{"15 input tokens are billed and 10 recorded"}},
		{"price differs", "request_id,cost,input_tokens\na,1.5,10\nb,2,10\nc,3,10\n", 2, []string{"the amounts agree and the price differs"}},
		{"days and models", "date,model,amount,num_requests\n2026-03-01,m1,1,1\n2026-03-01T00:00:00Z,m2,2,1\n2026-03-02,m1,3,1\n", 3, nil},
		{"days", "day,cost\n2026-03-01,1\n2026-03-01,2\n1772409600,3\n", 2, nil},
		{"rounded", "day,cost\n2026-03-01,3.001\n2026-03-02,3\n", 2, []string{"within the tolerance"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := reconcile.Parse(strings.NewReader(tt.bill))
			if err != nil {
				t.Fatal(err)
			}
			rep := b.Compare(ours, usd/100)
			var whys []string
			var sum resource.Money
			for _, d := range rep.Differences {
				whys = append(whys, d.Why)
				sum += d.Billed - d.Ours
			}
			if d := cmp.Diff(tt.whys, whys); d != "" || rep.Matched != tt.matched {
				t.Errorf("%d matched\n%s", rep.Matched, d)
			}
			if sum != rep.Billed-rep.Ours {
				t.Errorf("the differences add up to %s, not to %s", sum, rep.Billed-rep.Ours)
			}
		})
	}
}

func TestParse_refuses(t *testing.T) {
	t.Parallel()
	for name, bill := range map[string]string{
		"nothing": "", "no cost": "day,model\n", "no day": "model,cost\n", "a word for the cost": "day,cost\n2026-01-01,much\n",
		"no day in a row": "day,cost\nyesterday,1\n", "half a request": "day,cost,requests\n2026-01-01,1,1.5\n",
	} {
		if _, err := reconcile.Parse(strings.NewReader(bill)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("day,cost\n2026-03-01,1\n")
	f.Add("request_id,cost,requests\na,1,1\n")
	f.Fuzz(func(_ *testing.T, bill string) {
		if b, err := reconcile.Parse(strings.NewReader(bill)); err == nil {
			b.Compare(b.Entries, 0)
		}
	})
}
