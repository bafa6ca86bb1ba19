//go:build e2e

package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/test/cluster"
)

// classes is how many sorts of requests a load has. All requests of one have one bill, and no two
// sorts have the same.
const classes = 64

// classAsk is a request of the class. Its end user names the class: in the row of a request, in
// what is left of one that a kill has cut off, and in what the upstream remembers.
func classAsk(class int) map[string]any {
	return map[string]any{
		"model": "dear", "user": fmt.Sprint("class-", class), "max_tokens": 1 + class%8,
		"messages": []map[string]string{{"role": "user", "content": strings.Repeat("word", 1+class)}},
	}
}

// classBill is what the upstream billed for the requests of one class.
type classBill struct {
	requests int64
	each     resource.Money
}

// classBills reads the bills out of what the upstream remembers, which must be all that it has seen.
func classBills(t *testing.T, upstream string) map[string]classBill {
	t.Helper()
	var seen struct {
		Items []struct {
			Body       string `json:"body"`
			Prompt     int64  `json:"prompt_tokens"`
			Completion int64  `json:"completion_tokens"`
		} `json:"items"`
	}
	var all struct {
		Requests int64 `json:"requests"`
	}
	if cluster.Call(t, http.MethodGet, upstream+"/mock/requests?limit=10000000", "", nil, &seen) != http.StatusOK ||
		cluster.Call(t, http.MethodGet, upstream+"/mock/usage", "", nil, &all) != http.StatusOK || int64(len(seen.Items)) < all.Requests {
		t.Fatalf("the upstream remembers %d of %d requests", len(seen.Items), all.Requests)
	}
	bills := map[string]classBill{}
	for _, r := range seen.Items {
		var body struct {
			User string `json:"user"`
		}
		if json.Unmarshal([]byte(r.Body), &body) != nil || body.User == "" {
			continue
		}
		b, each := bills[body.User], resource.Money(r.Prompt*dearPrompt+r.Completion*dearCompletion)
		if b.requests > 0 && b.each != each {
			t.Fatalf("%s: the upstream billed %s and %s", body.User, b.each, each)
		}
		bills[body.User] = classBill{b.requests + 1, each}
	}
	return bills
}

// row is what a node has recorded of one request.
type row struct {
	Node      string      `json:"node"`
	RequestID string      `json:"request_id"`
	Customer  string      `json:"customer_id"`
	Status    int         `json:"status"`
	ErrorKind string      `json:"error_kind"`
	Cost      json.Number `json:"cost"`
	Hold      json.Number `json:"hold"`
	Flags     uint32      `json:"flags"`
}

// rows reads what all nodes have recorded of a key's requests. An export breaks off where a node
// gives no answer in time, as one may on a busy machine.
func rows(t *testing.T, c *cluster.Cluster, key string) (list []row) {
	t.Helper()
	var out string
	c.AwaitThat("the requests are exported", time.Minute, func() (bool, string) {
		var status int
		out, status = conclave(t, c, 0, "ledger", "export", "--format", "json", "--for-key", key)
		return status == 0, out[max(0, len(out)-300):]
	})
	for d := json.NewDecoder(bytes.NewBufferString(out)); d.More(); {
		var r row
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// checkBills compares each request's charge with the upstream's bill: an answered one has exactly
// the bill; one that a kill cut off is flagged, once, and has no less than the bill and no more
// than its hold; a refused one costs nothing. No billed request is missing, none stands twice.
func checkBills(t *testing.T, list []row, bills map[string]classBill) (answered, cut int64) {
	t.Helper()
	const estimated = 2 // of the ledger's flags
	seen, whole, broken := map[string]bool{}, map[string]int64{}, map[string]int64{}
	for _, r := range list {
		cost, err1 := resource.ParseMoney(r.Cost.String())
		hold, err2 := resource.ParseMoney(r.Hold.String())
		if err1 != nil || err2 != nil || seen[r.RequestID] {
			t.Fatalf("request %s stands twice, or its cost is none: %+v", r.RequestID, r)
		}
		seen[r.RequestID] = true
		bill := bills[r.Customer]
		switch {
		case r.Flags&estimated != 0:
			broken[r.Customer]++
			if cost < bill.each || cost > hold {
				t.Errorf("a request that was cut off is charged %s, want %s to %s: %+v", cost, bill.each, hold, r)
			}
		case r.Status == http.StatusOK:
			whole[r.Customer]++
			if cost != bill.each {
				t.Errorf("a request is charged %s, the bill is %s: %+v", cost, bill.each, r)
			}
		case cost != 0:
			t.Errorf("a request without an answer is charged %s: %+v", cost, r)
		}
	}
	for class, b := range bills {
		if whole[class] > b.requests || whole[class]+broken[class] < b.requests {
			t.Errorf("%s: %d answered and %d cut off in the books, %d billed", class, whole[class], broken[class], b.requests)
		}
	}
	return total(whole), total(broken)
}

func total(of map[string]int64) (n int64) {
	for v := range maps.Values(of) {
		n += v
	}
	return n
}
