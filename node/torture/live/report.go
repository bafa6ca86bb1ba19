package live

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// The files of a report.
const (
	fileRun      = "run.json"
	fileSchedule = "schedule.jsonl"
	fileHistory  = "history.jsonl"
	fileUses     = "uses.jsonl"
	fileExits    = "exits.jsonl"
	fileBill     = "bill.json"
	fileLedger   = "ledger.json"
	fileRestores = "restores.jsonl"
	fileProbes   = "probes.jsonl"
	fileUsage    = "usage.jsonl"
	fileLooks    = "looks.jsonl"
	fileLogs     = "logs.jsonl"
	fileSnapshot = "state.snap"
)

// What a token costs at the upstream, in nanodollars.
const (
	promptCost     = 150_000
	completionCost = 600_000
	maxTokens      = 16
	maxPrompt      = 400 // tokens of a hold; the load's prompts are shorter
)

// The limit of the capped key's budget.
const cappedLimit = 2 * resource.Dollar

// runFile says what was run.
type runFile struct {
	Seed    uint64           `json:"seed"`
	Length  time.Duration    `json:"length"`
	Nodes   []string         `json:"nodes"`
	Program string           `json:"program"`
	Next    string           `json:"next,omitempty"` // the second program
	Journal string           `json:"journal"`        // mode of the nodes' journals
	Began   time.Time        `json:"began"`
	Ended   time.Time        `json:"ended,omitzero"`
	Left    string           `json:"left_out,omitempty"` // faults that this machine does not permit, and why
	Stale   time.Duration    `json:"stale"`              // for how long a node may serve what was revoked elsewhere
	Slow    []string         `json:"slow,omitempty"`     // nodes that were not ready in time after a fault
	Wrong   []string         `json:"wrong,omitempty"`    // what a node did that it never may, with the invariant's number
	Orphans []string         `json:"orphans,omitempty"`  // processes that outlived the nodes that started them
	Sent    int64            `json:"sent"`               // requests of the spenders
	OK      map[string]int64 `json:"ok"`                 // answered, by model
	Cut     map[string]int64 `json:"cut"`                // without an answer, by model
}

// fault is one line of the schedule.
type fault struct {
	Kind  string        `json:"kind"`
	Way   string        `json:"way,omitempty"` // of several that a kind has
	Nodes []int         `json:"nodes"`
	Last  time.Duration `json:"last"`  // how long it lasts
	Calm  time.Duration `json:"calm"`  // what follows
	Began time.Duration `json:"began"` // since the start of the run; 0: it was not done
	Ended time.Duration `json:"ended"`
	Ready time.Duration `json:"ready"` // from its end until all nodes were ready again
	Note  string        `json:"note,omitempty"`
}

// operation is what an administrator did with a key, or saw of it in the end.
type operation struct {
	Client int           `json:"client"`
	Node   int           `json:"node"`
	Key    string        `json:"key"`
	Op     string        `json:"op"` // "create", "block", "unblock", "delete", "read"
	Call   time.Duration `json:"call"`
	Return time.Duration `json:"return"` // 0: nobody knows whether it was done
	Seen   string        `json:"seen"`   // "done", "gone", "unknown"; of a read "live", "blocked" or "gone"
}

// use is one request with a key that is blocked or deleted at some time.
type use struct {
	Node   int           `json:"node"`
	Key    string        `json:"key"`
	Call   time.Duration `json:"call"`
	Return time.Duration `json:"return"`
	Status int           `json:"status"`
}

// exit is a process that ended by itself.
type exit struct {
	Node   string        `json:"node"`
	At     time.Duration `json:"at"`
	Status int           `json:"status"`
}

// billed is what the upstream billed for one model.
type billed struct {
	Requests   int64 `json:"requests"`
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
}

func (b *billed) cost() resource.Money {
	return resource.Money(b.Prompt*promptCost + b.Completion*completionCost)
}

// nodeBooks is what one node said when all was over.
type nodeBooks struct {
	Node    string            `json:"node"`
	Books   map[string]books  `json:"books"` // by key
	State   map[string]string `json:"state"` // of the keys of the history: "live", "blocked" or "gone"
	Members []member          `json:"members"`
	Audit   auditVerdict      `json:"audit"`
}

// books is what a key spent.
type books struct {
	Cost     json.Number `json:"cost"`
	Requests int64       `json:"requests"`
	Failures int64       `json:"failures"`
}

type member struct {
	Name        string `json:"name"`
	Voter       bool   `json:"voter"`
	Leader      bool   `json:"leader"`
	Ready       bool   `json:"ready"`
	Quarantined string `json:"quarantined,omitempty"`
}

type auditVerdict struct {
	Verified bool   `json:"verified"`
	Entries  int64  `json:"entries"`
	Last     uint64 `json:"last,omitempty"` // number
	Reason   string `json:"reason,omitempty"`
}

// lines is a file of one JSON value a line, which many may write.
type lines struct {
	mu sync.Mutex // guards f
	f  *os.File
}

func newLines(dir, name string) (*lines, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	return &lines{f: f}, err
}

func (l *lines) add(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.f.Write(append(b, '\n'))
	return err
}

func (l *lines) close() error { return l.f.Close() }

func writeJSON(dir, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o600)
}

func readJSON(dir, name string, v any) error {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read the report's %s: %w", name, err)
	}
	return nil
}

// readLines reads a file of lines; one that is cut ends with an error.
func readLines[V any](dir, name string) ([]V, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	defer func() { _ = f.Close() }()
	var out []V
	d := json.NewDecoder(bufio.NewReader(f))
	for {
		var v V
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read the report's %s, line %d: %w", name, len(out)+1, err)
		}
		out = append(out, v)
	}
}
