package live

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// good is a report of a run in which all went well.
func good() *report {
	ok := books{Cost: json.Number("0.45"), Requests: 10}
	state := map[string]string{"k1": "gone", "k2": "blocked"}
	members := []member{{Name: "a", Voter: true, Leader: true, Ready: true}, {Name: "b", Voter: true, Ready: true}}
	node := func(name string) nodeBooks {
		return nodeBooks{Node: name, Books: map[string]books{"capped": ok}, State: state, Members: members, Audit: auditVerdict{Verified: true, Entries: 5}}
	}
	return &report{
		run: runFile{
			Seed: 1, Length: time.Minute, Nodes: []string{"a", "b"}, Ended: time.Unix(1, 0), Stale: 20 * time.Second,
			OK: map[string]int64{"capped": 10}, Cut: map[string]int64{"capped": 0},
		},
		schedule: []fault{{Kind: "kill", Nodes: []int{0}, Began: 1, Ended: 2, Ready: 3}, {Kind: "stop"}},
		history: []operation{
			{Key: "k1", Op: "create", Call: 1, Return: 2, Seen: "done"},
			{Key: "k1", Op: "block", Call: 3, Return: 9, Seen: "done"},
			{Client: 1, Key: "k1", Op: "delete", Call: 4, Return: 10, Seen: "done"},
			{Key: "k1", Op: "unblock", Call: 11, Return: 12, Seen: "gone"},
			{Key: "k1", Op: "read", Call: 50, Return: 51, Seen: "gone"},
			{Key: "k2", Op: "create", Call: 1, Return: 2, Seen: "done"},
			{Key: "k2", Op: "block", Call: 3, Seen: "unknown"},
			{Key: "k2", Op: "read", Call: 50, Return: 51, Seen: "blocked"},
		},
		uses:   []use{{Node: 0, Key: "k1", Call: 5, Return: 6, Status: 200}, {Node: 1, Key: "k1", Call: 30, Return: 31, Status: 200}},
		bill:   map[string]*billed{"capped": {Requests: 10, Prompt: 1000, Completion: 500}}, // 0.15 + 0.3 dollars
		ledger: []nodeBooks{node("a"), node("b")},
	}
}

// write writes a report's files.
func write(t *testing.T, r *report) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "report")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(emptyDir(dir))
	must(writeJSON(dir, fileRun, &r.run))
	must(writeJSON(dir, fileBill, r.bill))
	must(writeJSON(dir, fileLedger, r.ledger))
	for name, fill := range map[string]func(*lines){
		fileSchedule: func(l *lines) { addAll(t, l, r.schedule) },
		fileHistory:  func(l *lines) { addAll(t, l, r.history) },
		fileUses:     func(l *lines) { addAll(t, l, r.uses) },
		fileExits:    func(l *lines) { addAll(t, l, r.exits) },
	} {
		l, err := newLines(dir, name)
		must(err)
		fill(l)
		must(l.close())
	}
	return dir
}

func addAll[V any](t *testing.T, l *lines, all []V) {
	t.Helper()
	for _, v := range all {
		if err := l.add(v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*report)
		want   string // of a broken invariant; "": none
	}{
		{"all is well", func(*report) {}, ""},
		{"a blocked key is live in the end", func(r *report) { r.history[4].Seen = "live" }, "I1"},
		{"a deleted key is unblocked", func(r *report) { r.history[3].Seen = "done" }, "I1"},
		{"a key is gone before it was deleted", func(r *report) {
			r.history[2].Call, r.history[3].Call, r.history[3].Return = 20, 11, 12
			r.history[2].Return = 21
		}, "I1"},
		{"what is not known was not done", func(r *report) { r.history[7].Seen = "live" }, ""},
		{"served by the node that deleted it", func(r *report) { r.uses[0].Call = 11 }, "I2"},
		{"served by another node for too long", func(r *report) { r.uses[1].Call = 25 * time.Second }, "I2"},
		{"a billed request is missing", func(r *report) { r.bill["capped"].Requests = 11 }, "I4"},
		{"less than the bill", func(r *report) { r.bill["capped"].Completion = 1000 }, "I4"},
		{"more than the bill", func(r *report) { r.bill["capped"].Completion = 100 }, "I5"},
		{"a request twice", func(r *report) { r.bill["capped"].Requests = 9 }, "I5"},
		{"an answer that the books have as interrupted", func(r *report) { r.run.OK["capped"]++ }, "I5"},
		{"the same, of a node whose disk failed", func(r *report) {
			r.run.OK["capped"]++
			r.schedule = append(r.schedule, fault{Kind: failingDisk, Nodes: []int{1}, Began: 1, Ended: 2})
		}, ""},
		{"overspent", func(r *report) { r.bill["capped"].Completion = 4_000_000 }, "I6"},
		{"other books", func(r *report) {
			r.ledger[1].Books = map[string]books{"capped": {Cost: json.Number("0.6"), Requests: 10}}
		}, "I9"},
		{"other keys", func(r *report) { r.ledger[1].State = map[string]string{"k1": "gone", "k2": "live"} }, "I9"},
		{"quarantined", func(r *report) { r.ledger[0].Members[1].Quarantined = "x" }, "I9"},
		{"a broken audit log", func(r *report) { r.ledger[0].Audit.Verified = false }, "I11"},
		{"a process ended by itself", func(r *report) { r.exits = []exit{{Node: "a", Status: 2}} }, "I16"},
		{"two leaders", func(r *report) { r.ledger[0].Members[1].Leader = true }, "I17"},
		{"not ready in time", func(r *report) { r.run.Slow = []string{"kill of a"} }, "I17"},
		{"a node is silent", func(r *report) { r.ledger = r.ledger[:1] }, "I17"},
		{"nothing was asked", func(r *report) { r.bill = nil }, "I4"},
		{"the run was cut off", func(r *report) { r.run.Ended = time.Time{} }, "did not end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := good()
			tt.change(r)
			v, err := Check(write(t, r))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(v.Broken, "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if v.Faults["kill"] != 1 || v.Faults["stop"] != 0 || v.Slowest != 3 {
				t.Errorf("faults: got %v, slowest %s", v.Faults, v.Slowest)
			}
		})
	}
	if _, err := Check(t.TempDir()); err == nil {
		t.Error("an empty folder is a report")
	}
}

// TestPlan: a seed draws the same faults again, and all kinds come.
func TestPlan(t *testing.T) {
	t.Parallel()
	every := map[need]bool{nothing: true, network: true, links: true, disk: true}
	draw := func(may map[need]bool) (all []fault, seen map[string]bool) {
		r := rand.New(rand.NewPCG(7, 1))
		seen = map[string]bool{}
		for range 300 {
			f := plan(r, 3, may)
			all = append(all, f)
			seen[f.Kind] = true
		}
		return all, seen
	}
	one, seen := draw(every)
	if again, _ := draw(every); cmp.Diff(one, again) != "" {
		t.Error("the same seed draws other faults")
	}
	if len(seen) != len(kinds) {
		t.Errorf("%d of %d kinds come", len(seen), len(kinds))
	}
	if _, seen := draw(map[need]bool{nothing: true, disk: true}); seen["mute"] || seen["narrow"] || !seen["kill all"] || !seen["failing disk"] || !seen["replace"] {
		t.Errorf("without partitions: got %v", seen)
	}
}
