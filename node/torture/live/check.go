package live

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/conclave-llm/conclave/node/torture/proof"
	"github.com/conclave-llm/conclave/resource"
)

// Verdict is what the files of a report prove.
type Verdict struct {
	Seed       uint64          `json:"seed"`
	Length     time.Duration   `json:"length"`
	Faults     map[string]int  `json:"faults"`
	Keys       int             `json:"keys"`
	Operations int             `json:"operations"`
	Unknown    int             `json:"unknown"` // operations of which nobody knows whether they were done
	Uses       int             `json:"uses"`
	Requests   int64           `json:"requests"` // that the upstream billed
	Slowest    time.Duration   `json:"slowest"`  // until all nodes were ready after a fault
	Restores   int             `json:"restores"` // of backups, under load
	Looks      int             `json:"looks"`    // at the state of a node
	Quorum     *Quorum         `json:"quorum,omitempty"`
	Usage      map[string]Most `json:"usage"` // of one node
	LeftOut    string          `json:"left_out,omitempty"`
	Broken     []string        `json:"broken"` // invariants that did not hold; empty: all held
}

// Check reads a report and says which invariants held.
func Check(dir string) (*Verdict, error) {
	r, err := readReport(dir)
	if err != nil {
		return nil, err
	}
	v := &Verdict{Seed: r.run.Seed, Length: r.run.Length, LeftOut: r.run.Left, Faults: map[string]int{}, Operations: len(r.history), Uses: len(r.uses), Broken: []string{}}
	for _, f := range r.schedule {
		if f.Began > 0 {
			v.Faults[f.Kind]++
			v.Slowest = max(v.Slowest, f.Ready)
		}
	}
	for _, b := range r.bill {
		v.Requests += b.Requests
	}
	if r.run.Ended.IsZero() {
		v.broken("the run did not end: its files are not whole")
	}
	r.checkHistory(v)
	r.checkUses(v)
	r.checkForward(v)
	r.checkMoney(v)
	r.checkEnd(v)
	r.checkProbes(v)
	r.checkUsage(v)
	r.checkState(v)
	r.checkLogs(v)
	return v, nil
}

func (v *Verdict) broken(format string, args ...any) {
	v.Broken = append(v.Broken, fmt.Sprintf(format, args...))
}

// report is the files.
type report struct {
	run      runFile
	schedule []fault
	history  []operation
	uses     []use
	exits    []exit
	bill     map[string]*billed
	ledger   []nodeBooks
	restores []restored
	probes   []probe
	usage    []used
	looks    []proof.Look
	logs     []proof.Log
	state    state
	stateErr error // why it cannot be restored
}

func readReport(dir string) (*report, error) {
	r := new(report)
	var errs [13]error
	errs[0] = readJSON(dir, fileRun, &r.run)
	r.schedule, errs[1] = readLines[fault](dir, fileSchedule)
	r.history, errs[2] = readLines[operation](dir, fileHistory)
	r.uses, errs[3] = readLines[use](dir, fileUses)
	r.exits, errs[4] = readLines[exit](dir, fileExits)
	errs[5] = readJSON(dir, fileBill, &r.bill)
	errs[6] = readJSON(dir, fileLedger, &r.ledger)
	r.restores, errs[7] = readLines[restored](dir, fileRestores)
	r.probes, errs[8] = readLines[probe](dir, fileProbes)
	r.usage, errs[9] = readLines[used](dir, fileUsage)
	errs[10] = r.readSnapshot(dir)
	r.looks, errs[11] = readLines[proof.Look](dir, fileLooks)
	r.logs, errs[12] = readLines[proof.Log](dir, fileLogs)
	err := errors.Join(errs[:]...)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s is not the report of a run that ended: %w", dir, err)
	}
	return r, err
}

// keyState is a key as the model has it.
type keyState struct{ gone, blocked bool }

// keyModel says which outcomes the operations on one key may have.
var keyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{keyState{}} },
	Step: func(state, input, output any) []any {
		s, op, seen := state.(keyState), input.(string), output.(string)
		next := s
		switch op {
		case "read":
			if seen != s.String() {
				return nil
			}
			return []any{s}
		case "block", "unblock":
			next.blocked = op == "block"
		case "delete":
			next.gone = true
		}
		switch {
		case s.gone && seen == "done":
			return nil
		case s.gone:
			return []any{s}
		case seen == "gone":
			return nil
		case seen == "unknown":
			return []any{s, next}
		}
		return []any{next}
	},
}

// String is what a read sees.
func (s keyState) String() string {
	switch {
	case s.gone:
		return "gone"
	case s.blocked:
		return "blocked"
	}
	return "live"
}

const (
	linearTime = 30 * time.Second // to judge one key
	forever    = int64(1) << 62
)

// checkHistory asks for each key whether some order of the operations explains what was seen.
func (r *report) checkHistory(v *Verdict) {
	byKey := map[string][]porcupine.Operation{}
	for _, o := range r.history {
		if o.Seen == "unknown" {
			v.Unknown++
		}
		if o.Op == "create" {
			byKey[o.Key] = append(byKey[o.Key], []porcupine.Operation{}...)
			continue
		}
		op := porcupine.Operation{ClientId: o.Client, Input: o.Op, Output: o.Seen, Call: int64(o.Call), Return: int64(o.Return)}
		if o.Seen == "unknown" {
			op.Return = forever
		}
		byKey[o.Key] = append(byKey[o.Key], op)
	}
	v.Keys = len(byKey)
	for key, ops := range byKey {
		switch porcupine.CheckOperationsTimeout(keyModel.ToModel(), ops, linearTime) {
		case porcupine.Illegal:
			v.broken("I1: no order of its operations explains what was seen of key %s: %v", key, ops)
		case porcupine.Unknown:
			v.broken("I1: the history of key %s is too long to be judged in %s", key, linearTime)
		}
	}
}

// checkUses looks for requests that were served after their key was deleted: on the node that
// acknowledged it at once, on any other when it could not know better any more.
func (r *report) checkUses(v *Verdict) {
	deleted := map[string]operation{}
	for _, o := range r.history {
		if o.Op == "delete" && o.Seen == "done" {
			deleted[o.Key] = o
		}
	}
	for _, u := range r.uses {
		d, ok := deleted[u.Key]
		if !ok || u.Status != 200 {
			continue
		}
		late := u.Call - d.Return
		if late > 0 && u.Node == d.Node || late > r.run.Stale {
			v.broken("I2: node %s served key %s %s after it was deleted on node %s", r.name(u.Node), u.Key, late, r.name(d.Node))
		}
	}
}

func (r *report) name(i int) string {
	if i < 0 || i >= len(r.run.Nodes) {
		return fmt.Sprint(i)
	}
	return r.run.Nodes[i]
}

// checkMoney compares the books with the bill. Requests that were cut off may be charged what they
// held; no others may be charged more than the upstream billed.
func (r *report) checkMoney(v *Verdict) {
	for model, b := range r.bill {
		if model == "capped" && b.cost() > cappedLimit {
			v.broken("I6: the upstream billed %s of a budget of %s", b.cost(), cappedLimit)
		}
		for _, n := range r.ledger {
			got, ok := n.Books[model]
			cost, err := resource.ParseMoney(got.Cost.String())
			if !ok || err != nil {
				v.broken("I4: node %s has no books of the key %s", n.Node, model)
				continue
			}
			answered := got.Requests - got.Failures
			if got.Requests < b.Requests || cost < b.cost() {
				v.broken("I4: node %s has %s for %d requests of the key %s, and the upstream billed %s for %d", n.Node, cost, got.Requests, model, b.cost(), b.Requests)
			}
			if answered+r.unsettled() < r.run.OK[model] || answered > b.Requests {
				v.broken("I5: node %s has %d answered requests of the key %s, the clients %d, the upstream %d", n.Node, answered, model, r.run.OK[model], b.Requests)
			}
			if most := b.cost() + resource.Money(r.run.Cut[model]+r.unsettled())*(maxTokens*completionCost+maxPrompt*promptCost); cost > most {
				v.broken("I5: node %s has %s in the books of the key %s, more than the bill and what %d cut requests held: %s", n.Node, cost, model, r.run.Cut[model], most)
			}
			if first := r.ledger[0].Books[model]; got != first {
				v.broken("I9: the nodes %s and %s have other books of the key %s: %+v and %+v", r.ledger[0].Node, n.Node, model, first, got)
			}
		}
	}
	if len(r.bill) == 0 {
		v.broken("I4: the upstream billed nothing: nothing was tried")
	}
}

// unsettled is how many requests of one key may be answered that are interrupted ones in the books: a node
// whose disk fails cannot settle what it is answering, one request of each key, and charges what that held.
func (r *report) unsettled() (n int64) {
	for i := range r.schedule {
		f := &r.schedule[i]
		if f.Began == 0 {
			continue
		}
		switch f.Kind {
		case failingDisk, fullDisk, powerFailure, powerFailureOfAll:
			n += int64(len(f.Nodes))
		}
	}
	return n
}

// checkEnd looks at the cluster as it was when all was over.
func (r *report) checkEnd(v *Verdict) {
	for _, e := range r.exits {
		v.broken("I16: node %s ended by itself with status %d after %s", e.Node, e.Status, e.At.Round(time.Millisecond))
	}
	for _, name := range r.run.Slow {
		v.broken("I17: %s", name)
	}
	v.Broken = append(v.Broken, r.run.Wrong...)
	if len(r.ledger) != len(r.run.Nodes) {
		v.broken("I17: %d of %d nodes told of their state", len(r.ledger), len(r.run.Nodes))
		return
	}
	for _, n := range r.ledger {
		leaders := 0
		for _, m := range n.Members {
			if m.Leader {
				leaders++
			}
			if m.Quarantined != "" || !m.Ready || !m.Voter {
				v.broken("I9, I17: node %s sees node %s so: %+v", n.Node, m.Name, m)
			}
		}
		if leaders != 1 {
			v.broken("I17: node %s sees %d leaders", n.Node, leaders)
		}
		if !n.Audit.Verified || n.Audit.Entries == 0 {
			v.broken("I11: the audit log of node %s: %d entries, %s", n.Node, n.Audit.Entries, n.Audit.Reason)
		}
		for key, state := range n.State {
			if first := r.ledger[0].State[key]; state != first {
				v.broken("I9: key %s is %s at node %s and %s at node %s", key, first, r.ledger[0].Node, state, n.Node)
			}
		}
	}
}
