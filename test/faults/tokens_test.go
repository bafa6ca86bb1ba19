//go:build e2e

package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/test/cluster"
)

const (
	tokensLimit  = 1500 // tokens a minute
	tokensPrompt = 16   // of a request, as the upstream counts them
	tokensAnswer = 10
)

// tokenLimits are the limits on tokens, and what a request counts in each.
var tokenLimits = []struct {
	name  string
	count func(t tokensSeen) int64
	each  int64
}{
	{"input_tpm", func(t tokensSeen) int64 { return t.Prompt }, tokensPrompt},
	{"output_tpm", func(t tokensSeen) int64 { return t.Completion }, tokensAnswer},
	{"tpm", func(t tokensSeen) int64 { return t.Prompt + t.Completion }, tokensPrompt + tokensAnswer},
}

// tokensSeen is a request that the upstream has seen.
type tokensSeen struct {
	Time       time.Time `json:"time"`
	Body       string    `json:"body"`
	Prompt     int64     `json:"prompt_tokens"`
	Completion int64     `json:"completion_tokens"`
}

// TestLimit_TokensSharedByNodes offers ten times the tokens a minute of three keys, one with each
// kind of limit, and expects that the upstream sees no more than the limit in any minute, and most
// of it where all is well. With CONCLAVE_FULL the offer lasts for two and a half minutes, so that
// minutes end meanwhile.
func TestLimit_TokensSharedByNodes(t *testing.T) {
	c := cluster.Config{Apart: true, Remembered: 1_000_000}.Start(t, 3)
	for _, tt := range []struct {
		name   string
		share  [3]int // of a hundred requests
		during func()
		least  int64 // in hundredths of the limit
	}{
		{"evenly", [3]int{34, 33, 33}, nil, 90},
		{"90-5-5", [3]int{90, 5, 5}, nil, 90},
		{"a node is killed and starts", [3]int{5, 90, 5}, func() {
			c.Nodes[1].Kill()
			c.Nodes[1].Start()
			c.Nodes[1].AwaitReady()
		}, 20},
		{"all are cut off", [3]int{34, 33, 33}, c.Cut, 20}, // the last: it is not healed
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tokensOffer{c: c, share: tt.share, during: tt.during}
			var secrets []string
			for _, l := range tokenLimits {
				_, secret := c.NewKey(0, map[string]any{"limits": map[string]any{l.name: tokensLimit}})
				secrets = append(secrets, secret)
			}
			var wg sync.WaitGroup
			for i, l := range tokenLimits {
				wg.Go(func() { o.send(t, secrets[i], l.name+" "+tt.name, 10*tokensLimit/l.each) })
			}
			wg.Wait()
			seen := o.seen(t)
			for _, l := range tokenLimits {
				most, all := worstMinute(seen[l.name+" "+tt.name], l.count)
				t.Logf("%s: at most %d tokens in a minute, %d in all", l.name, most, all)
				if most > tokensLimit*102/100 || all < tokensLimit*tt.least/100 {
					t.Errorf("%s: %d tokens were admitted in a minute and %d in all, want %d at most and %d at least",
						l.name, most, all, tokensLimit*102/100, tokensLimit*tt.least/100)
				}
			}
		})
	}
}

// tokensOffer is requests to three nodes, by share, with something that happens meanwhile.
type tokensOffer struct {
	c      *cluster.Cluster
	share  [3]int
	during func()
	once   sync.Once
}

// send offers n requests, and more if they are to last.
func (o *tokensOffer) send(t *testing.T, secret, user string, n int64) {
	ask := map[string]any{
		"model": "demo", "max_tokens": tokensAnswer, "user": user,
		"messages": []map[string]string{{"role": "user", "content": strings.Repeat("four", tokensPrompt)}},
	}
	var end time.Time
	if os.Getenv("CONCLAVE_FULL") != "" {
		end = time.Now().Add(150 * time.Second)
	}
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := sent.Add(1); i <= n || time.Now().Before(end); i = sent.Add(1) {
				if o.during != nil && i > n/50 {
					o.once.Do(func() { wg.Go(o.during) })
				}
				at, node := int(i*37)%100, 0
				for at -= o.share[0]; at >= 0; at -= o.share[node] {
					node++
				}
				status := cluster.Call(t, http.MethodPost, o.c.Nodes[node].URL+"/v1/chat/completions", secret, ask, nil)
				if status != http.StatusOK && status != http.StatusTooManyRequests && o.during == nil {
					t.Errorf("status %d, want 200 or 429", status)
				}
			}
		})
	}
	wg.Wait()
}

// seen is what the upstream has seen, by the requests' users.
func (o *tokensOffer) seen(t *testing.T) map[string][]tokensSeen {
	t.Helper()
	var out struct {
		Items []tokensSeen `json:"items"`
	}
	if status := cluster.Call(t, http.MethodGet, o.c.MockURL()+"/mock/requests?limit=1000000", "", nil, &out); status != http.StatusOK {
		t.Fatalf("what the upstream has seen: status %d", status)
	}
	by := map[string][]tokensSeen{}
	for _, r := range out.Items {
		var body struct {
			User string `json:"user"`
		}
		if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
			t.Fatal(fmt.Errorf("what the upstream has seen: %w", err))
		}
		by[body.User] = append(by[body.User], r)
	}
	return by
}

// worstMinute is the most that any 60 seconds hold, and all.
func worstMinute(list []tokensSeen, count func(tokensSeen) int64) (most, all int64) {
	slices.SortFunc(list, func(a, b tokensSeen) int { return a.Time.Compare(b.Time) })
	sum, first := int64(0), 0
	for _, r := range list {
		for r.Time.Sub(list[first].Time) >= time.Minute {
			sum -= count(list[first])
			first++
		}
		sum += count(r)
		all += count(r)
		most = max(most, sum)
	}
	return most, all
}
