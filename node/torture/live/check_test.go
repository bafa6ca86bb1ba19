package live

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft" //nolint:depguard // plays the part of the consensus

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/backup/archive"
	"github.com/conclave-llm/conclave/node/consensus/logstore"
	"github.com/conclave-llm/conclave/node/torture/proof"
	"github.com/conclave-llm/conclave/resource"
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
		uses:     []use{{Node: 0, Key: "k1", Call: 5, Return: 6, Status: 200}, {Node: 1, Key: "k1", Call: 30, Return: 31, Status: 200}},
		bill:     map[string]*billed{"capped": {Requests: 10, Prompt: 1000, Completion: 500}}, // 0.15 + 0.3 dollars
		ledger:   []nodeBooks{node("a"), node("b")},
		restores: []restored{{At: 1, Node: 1, Later: []int{404, 404}, Gone: []int{401, 401}, Before: 3, After: auditVerdict{Verified: true, Last: 5}}},
		probes: []probe{{
			Node: 1, With: []time.Duration{2 * time.Millisecond, 5 * time.Millisecond, 3 * time.Millisecond},
			Without: []time.Duration{2 * time.Millisecond, 4 * time.Millisecond}, Refused: map[int]int{},
		}},
		usage: []used{
			{When: warm, Memory: 100 << 20, Goroutines: 200, Files: 50, Disk: 1 << 20},
			{When: amid, Node: 1, Memory: 150 << 20, Goroutines: 300, Files: 60, Disk: 2 << 20},
			{When: atEnd, Memory: 120 << 20, Goroutines: 150, Files: 40, Disk: 3 << 20},
		},
		looks: []proof.Look{
			{Node: "1", At: 1, Applied: 7, Keys: map[string]uint64{"k1": 3}},
			{Node: "2", At: 2, Applied: 6},
			{Node: "1", At: 3, Applied: 9, Gone: []string{"k1"}},
			{Node: "1", At: 4, Generation: 1, Applied: 2, Keys: map[string]uint64{"k1": 1}},
		},
		logs: []proof.Log{{Node: "a", Applied: 2, Entries: entries(1, 1, 2)}, {Node: "b", Applied: 2, Entries: entries(1, 1)}},
	}
}

// entries are those of a log, by their terms.
func entries(terms ...uint64) (all []logstore.Digest) {
	for i, term := range terms {
		all = append(all, logstore.Digest{Index: uint64(i + 1), Term: term})
	}
	return all
}

// keeper wraps nothing: what it seals is looked at by nobody here.
type keeper struct{}

func (keeper) ID() string                                  { return "kek" }
func (keeper) Wrap(plain []byte, _ string) ([]byte, error) { return plain, nil }
func (keeper) Unwrap(box []byte, _ string) ([]byte, error) { return box, nil }

// snapshot is a backup of a state in which the changes of good were made.
func snapshot(t *testing.T) []byte {
	t.Helper()
	f, err := fsm.Open(fsm.Config{Dir: t.TempDir(), NodeID: "a", BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // the folder is removed
	index := uint64(0)
	do := func(cmd fsm.Command) {
		t.Helper()
		env := fsm.Envelope{At: resource.Time(1), Actor: fsm.Actor{Kind: "master"}, ReadIndex: index}
		index++
		binary.BigEndian.PutUint64(env.CommandID[:], index)
		b, err := fsm.Encode(env, cmd)
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := f.Apply(&raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: b}).(fsm.Applied); !ok || a.Err != nil {
			t.Fatalf("%T: %v", cmd, a.Err)
		}
	}
	do(fsm.Bootstrap{ClusterID: "c1", MasterHash: resource.HashSecret("master"), KEKID: "k", DEKID: "d", DEK: []byte{1}})
	for _, id := range []string{"k1", "k2"} {
		k, err := fsm.EncodedOf(resource.Key{Meta: resource.Meta{ID: id}, Hash: resource.HashSecret(id)})
		if err != nil {
			t.Fatal(err)
		}
		do(fsm.PutKey{Key: k})
	}
	do(fsm.BlockKey{ID: "k1", Blocked: true})
	do(fsm.DeleteKey{ID: "k1"})
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	var b bytes.Buffer
	w := archive.NewWriter(&b, archive.Manifest{TakenAt: resource.Time(1), Node: "a"}, keeper{})
	if err := errors.Join(s.Persist(sink{w}), w.Seal()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// write writes a report's files, with a backup of the state.
func write(t *testing.T, r *report, state []byte) string {
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
		fileRestores: func(l *lines) { addAll(t, l, r.restores) },
		fileProbes:   func(l *lines) { addAll(t, l, r.probes) },
		fileUsage:    func(l *lines) { addAll(t, l, r.usage) },
		fileLooks:    func(l *lines) { addAll(t, l, r.looks) },
		fileLogs:     func(l *lines) { addAll(t, l, r.logs) },
	} {
		l, err := newLines(dir, name)
		must(err)
		fill(l)
		must(l.close())
	}
	must(os.WriteFile(filepath.Join(dir, fileSnapshot), state, 0o600))
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
	whole := snapshot(t)
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
		{"a state goes back", func(r *report) { r.looks[2].Applied = 6 }, "I3"},
		{"a deleted key is there again", func(r *report) { r.looks[3].Generation, r.looks[3].Applied = 0, 9 }, "I3"},
		{"nobody looked", func(r *report) { r.looks = nil }, "I3"},
		{"another entry is committed", func(r *report) { r.logs[1].Entries[1].Sum = 5 }, "I12"},
		{"a log is not there", func(r *report) { r.logs[1].Entries = nil }, "I12"},
		{"a billed request is missing", func(r *report) { r.bill["capped"].Requests = 11 }, "I4"},
		{"less than the bill", func(r *report) { r.bill["capped"].Completion = 1000 }, "I4"},
		{"more than the bill", func(r *report) { r.bill["capped"].Completion = 100 }, "I5"},
		{"a request twice", func(r *report) { r.bill["capped"].Requests = 9 }, "I5"},
		{"an answer that the books have as interrupted", func(r *report) { r.run.OK["capped"]++ }, "I5"},
		{"the same, of a node whose disk failed", func(r *report) {
			r.run.OK["capped"]++
			r.schedule = append(r.schedule, fault{Kind: failingDisk, Nodes: []int{1}, Began: 1, Ended: 2})
		}, ""},
		{"the same, after a power failure", func(r *report) {
			r.run.OK["capped"]++
			r.schedule = append(r.schedule, fault{Kind: powerFailure, Nodes: []int{1}, Began: 1, Ended: 2})
		}, ""},
		{"overspent", func(r *report) { r.bill["capped"].Completion = 4_000_000 }, "I6"},
		{"other books", func(r *report) {
			r.ledger[1].Books = map[string]books{"capped": {Cost: json.Number("0.6"), Requests: 10}}
		}, "I9"},
		{"other keys", func(r *report) { r.ledger[1].State = map[string]string{"k1": "gone", "k2": "live"} }, "I9"},
		{"quarantined", func(r *report) { r.ledger[0].Members[1].Quarantined = "x" }, "I9"},
		{"a broken audit log", func(r *report) { r.ledger[0].Audit.Verified = false }, "I11"},
		{"a process ended by itself", func(r *report) { r.exits = []exit{{Node: "a", Status: 2}} }, "I16"},
		{"what is damaged is told", func(r *report) { r.run.Wrong = []string{"I9: node a told it"} }, "I9"},
		{"a key from after a backup is there", func(r *report) { r.restores[0].Later[1] = 200 }, "I10"},
		{"a key that was deleted after a backup works", func(r *report) { r.restores[0].Gone[0] = 200 }, "I10"},
		{"a restore takes audit entries away", func(r *report) { r.restores[0].Before = 5 }, "I10"},
		{"the kept state lacks audit entries", func(r *report) { r.ledger[1].Audit.Last = 6 }, "I10"},
		{"a change is not in the audit log", func(r *report) {
			r.history = append(r.history, operation{Key: "k2", Op: "unblock", Call: 60, Return: 61, Seen: "done"}, operation{Key: "k2", Op: "block", Call: 62, Return: 63, Seen: "done"})
			r.history[7].Call, r.history[7].Return = 70, 71
		}, "I11"},
		{"refused for want of a quorum", func(r *report) { r.probes[0].Refused[503] = 1 }, "I14"},
		{"nothing served without a quorum", func(r *report) { r.probes[0].Without = nil }, "I14"},
		{"slower without a quorum", func(r *report) { r.probes[0].Without = []time.Duration{30 * time.Millisecond} }, "I14"},
		{"some wait for a leader", func(r *report) {
			r.probes[0].Without = []time.Duration{time.Millisecond, time.Millisecond, 5 * time.Second}
		}, "I14"},
		{"one loss of several is slow", func(r *report) {
			slow := r.probes[0]
			slow.Without = []time.Duration{time.Second}
			r.probes = append(r.probes, slow, r.probes[0])
		}, ""},
		{"memory grows", func(r *report) { r.usage[1].Memory = 600 << 20 }, "I15"},
		{"goroutines are left", func(r *report) { r.usage[2].Goroutines = 1200 }, "I15"},
		{"files are left open", func(r *report) { r.usage[2].Files = 500 }, "I15"},
		{"the disk fills", func(r *report) { r.usage[2].Disk = 2 << 30 }, "I15"},
		{"nobody was measured", func(r *report) { r.usage = nil }, "I15"},
		{"a plugin outlives its node", func(r *report) { r.run.Orphans = []string{"7 conclave plugin"} }, "I15"},
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
			v, err := Check(write(t, r, whole))
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
	torn := bytes.Clone(whole)
	torn[len(torn)/2] ^= 1
	if v, err := Check(write(t, good(), torn)); err != nil || !strings.Contains(strings.Join(v.Broken, "\n"), "I10") {
		t.Errorf("a damaged state: got %+v, %v", v, err)
	}
	if _, err := Check(t.TempDir()); err == nil {
		t.Error("an empty folder is a report")
	}
}

// TestDeck: a seed deals the same faults again, every kind comes before any comes again, and none that the machine does not permit.
func TestDeck(t *testing.T) {
	t.Parallel()
	every := map[need]bool{nothing: true, network: true, links: true, disk: true, volumes: true, synced: true, second: true, majority: true}
	deal := func(n int, may map[need]bool) (all []fault, seen map[string]int) {
		d := deck{random: rand.New(rand.NewPCG(7, 1)), nodes: 3, may: may}
		seen = map[string]int{}
		for range n {
			f := d.deal()
			all = append(all, f)
			seen[f.Kind]++
		}
		return all, seen
	}
	one, seen := deal(len(kinds), every)
	if again, _ := deal(len(kinds), every); cmp.Diff(one, again) != "" {
		t.Error("the same seed deals other faults")
	}
	if len(seen) != len(kinds) {
		t.Errorf("%d of %d kinds come in as many faults", len(seen), len(kinds))
	}
	whole := 0
	for _, k := range kinds {
		whole += k.weight
	}
	_, seen = deal(whole, every)
	for _, k := range kinds {
		if seen[k.name] != k.weight {
			t.Errorf("%s comes %d times of %d, want %d", k.name, seen[k.name], whole, k.weight)
		}
	}
	_, seen = deal(300, map[need]bool{nothing: true, disk: true, majority: true})
	for name, want := range map[string]bool{
		"mute": false, "narrow": false, powerFailure: false, fullDisk: false, "change program": false,
		"kill all": true, failingDisk: true, "replace": true, "restore": true, "rotate": true, "damage": true,
	} {
		if got := seen[name] > 0; got != want {
			t.Errorf("without networks and volumes: %s comes: %v", name, got)
		}
	}
}

// TestPermitted: what a run leaves out it says.
func TestPermitted(t *testing.T) {
	t.Parallel()
	may, left := permitted(&Config{Nodes: 2, Journal: "write"})
	if may[synced] || may[second] || may[majority] || !may[nothing] {
		t.Errorf("got %v", may)
	}
	text := strings.Join(left, "\n")
	for _, want := range []string{"power failures need", "--next", "three nodes"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said: %s", want, text)
		}
	}
}
