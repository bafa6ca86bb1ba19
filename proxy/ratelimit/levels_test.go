package ratelimit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// Every kind of holder is limited, in every dimension, by model, by session, by tag and by MCP server.
func TestReserve_EveryLevel(t *testing.T) {
	t.Parallel()
	kinds := []string{
		resource.HolderOrganization, resource.HolderTeam, resource.HolderProject, resource.HolderUser, resource.HolderMember,
		resource.HolderKey, resource.HolderCustomer, resource.HolderTag, resource.HolderModel, resource.HolderDeployment,
	}
	for _, tt := range []struct {
		name   string
		limits resource.Limits
		typ    string
		fits   int // requests of 10 tokens in and 20 out
	}{
		{"requests", resource.Limits{RPM: new(int64(3))}, "requests", 3},
		{"tokens", resource.Limits{TPM: new(int64(100))}, "tokens", 3},
		{"input", resource.Limits{InputTPM: new(int64(45))}, "input-tokens", 4},
		{"output", resource.Limits{OutputTPM: new(int64(45))}, "output-tokens", 2},
		{"parallel", resource.Limits{Parallel: new(int64(2))}, "requests", 2},
		{"nothing", resource.Limits{RPM: new(int64(0))}, "requests", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range kinds {
				for _, of := range []string{"all", "model", "session", "shared", "shared model", "tag", "mcp"} {
					var a resource.Allowance
					shared := &resource.Budget{Meta: resource.Meta{ID: "b"}, Name: "b"}
					v := resource.Level{Kind: kind, ID: "x", Allowance: &a}
					switch of {
					case "all":
						a.Limits = tt.limits
					case "model":
						a.ModelLimits = map[string]resource.Limits{"m": tt.limits}
					case "shared": // the lower counts
						a.BudgetID, shared.Limits = "b", tt.limits
						a.Limits = resource.Limits{RPM: new(int64(1000)), OutputTPM: new(int64(10_000))}
					case "shared model":
						a.BudgetID, shared.ModelLimits = "b", map[string]resource.Limits{"m": tt.limits}
					case "tag":
						v.Policy = &resource.Policy{TagLimits: map[string]resource.Limits{"eu": tt.limits}}
					case "mcp": // by its alias, and by a name that another server has
						v.Policy = &resource.Policy{MCPLimits: map[string]resource.Limits{"g": tt.limits, "mail": {RPM: new(int64(0))}}}
					default:
						if tt.limits.InputTPM != nil || tt.limits.OutputTPM != nil || tt.limits.Parallel != nil {
							continue
						}
						v.Policy = &resource.Policy{Sessions: &resource.SessionLimits{RPM: tt.limits.RPM, TPM: tt.limits.TPM}}
					}
					l := New(Config{NodeID: "a"})
					cat := resource.NewCatalog(resource.Tables{Budgets: []*resource.Budget{shared}})
					r := &Request{Catalog: cat, Levels: []resource.Level{v}, Model: "m", Session: "s", Input: 10, Output: 20}
					r.Tags = []string{"other", "eu"}
					r.Server = &resource.MCPServer{Meta: resource.Meta{ID: "mcp_1"}, Name: "git", Alias: "g"}
					n := 0
					for ; n < 10; n++ {
						if _, err := l.Reserve(t.Context(), r); err != nil {
							if e := refusal(t, err); e.Type != tt.typ || e.Scope != kind || e.RetryAfter <= 0 {
								t.Errorf("%s %s: refused by %+v", kind, of, e)
							}
							break
						}
					}
					if n != tt.fits {
						t.Errorf("%s %s: %d admitted, want %d", kind, of, n, tt.fits)
					}
					other := *r
					other.Model, other.Session, other.Tags, other.Server = "other", "other", []string{"other"}, &resource.MCPServer{Meta: resource.Meta{ID: "mcp_2"}, Name: "other"}
					free := of == "model" || of == "shared model" || of == "tag" || of == "mcp" || of == "session" && tt.fits > 0
					if _, err := l.Reserve(t.Context(), &other); (err == nil) != free {
						t.Errorf("%s %s: another model and session: %v", kind, of, err)
					}
				}
			}
		})
	}
}

// What is admitted outlives the process, and what a cut record holds is no more than that.
func TestFileTape(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "limits")
	now := 5000 * time.Second
	p := keyWith(limits(5, 1000, -1))
	start := func() (*Limiter, *FileTape) {
		tape, err := OpenTape(dir)
		if err != nil {
			t.Fatal(err)
		}
		return New(Config{NodeID: "a", Tape: tape, Clock: func() time.Duration { return now }}), tape
	}
	admit := func(l *Limiter, want int) {
		t.Helper()
		n := 0
		for range 10 {
			if h, err := l.Reserve(t.Context(), request(p, 10)); err == nil {
				h.Settle(5, 0)
				h.Release()
				n++
			}
		}
		if n != want {
			t.Errorf("admitted %d, want %d", n, want)
		}
	}
	l, tape := start()
	admit(l, 5)
	if err := tape.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(tape.path(0), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	now += 30 * time.Second
	l, tape = start()
	admit(l, 0)
	now += 31 * time.Second
	admit(l, 5)
	for range 3 { // sides turn, and what still counts is on one of the two
		now += turnEvery / 2
		l.Round()
		now += turnEvery/2 + time.Second
		l.Round()
		admit(l, 5)
	}
	sides, err := tape.sides()
	if err != nil || len(sides) != 2 {
		t.Errorf("sides %v, %v, want two", sides, err)
	}
	_ = tape.Close()
	l, tape = start()
	admit(l, 0)
	_ = tape.Close()
	l.Round()
	now += time.Hour
	admit(l, 5) // a tape that refuses stops nobody
}

func FuzzRecord(f *testing.F) {
	b := make([]byte, recordSize)
	(&record{kind: 1, id: 2, seq: 3, second: 4, n: 5}).encode(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseRecord(b)
		if !ok {
			return
		}
		again := make([]byte, recordSize)
		r.encode(again)
		if string(again) != string(b) {
			t.Errorf("record %+v changes when written again", r)
		}
		tape := &memTape{}
		_ = tape.Append(b)
		New(Config{NodeID: "a", Tape: tape})
	})
}

// A request that is withdrawn has not come: it counts in no limit. One that is released was there.
func TestHold_Withdraw(t *testing.T) {
	t.Parallel()
	l := New(Config{NodeID: "a"})
	v := resource.Level{Kind: resource.HolderKey, ID: "k", Allowance: &resource.Allowance{
		Limits: resource.Limits{RPM: new(int64(1)), TPM: new(int64(30)), Parallel: new(int64(1))},
	}}
	r := &Request{Levels: []resource.Level{v}, Input: 10, Output: 20}
	for range 3 {
		h, err := l.Reserve(t.Context(), r)
		if err != nil {
			t.Fatalf("after a request that was withdrawn: %v", err)
		}
		h.Withdraw()
	}
	h, err := l.Reserve(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	if _, err := l.Reserve(t.Context(), r); refusal(t, err).Type != "requests" {
		t.Errorf("after one that was released: got %v", err)
	}
	none.Withdraw() // of a request without limits
}
