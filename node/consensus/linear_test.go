package consensus_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/consensus"
	"github.com/conclave-llm/conclave/resource"
)

const (
	linearFor   = 5 * time.Second // at least
	linearSlots = 3               // keys in use at a time
	linearOps   = 300             // after so many, other keys are used: a history must be short to be checked
)

// keyOp is one operation on one key.
type keyOp struct {
	id, kind string // create, update, block, unblock, delete, read
	read     uint64 // the version that an update replaces
	marker   string // what a write stores
}

// keySeen is its outcome: of a write the new version or the refusal, of a read the record.
type keySeen struct {
	unknown bool // perhaps it was done, and perhaps it will be
	refusal string
	live    bool
	version uint64
	marker  string
	blocked bool
}

// keyState is a key as the model has it.
type keyState struct {
	live, dead bool
	version    uint64 // 0 while live: written by an operation whose outcome nobody knows
	marker     string
	blocked    bool
}

// keyModel says which outcomes one key may have.
var keyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{keyState{}} },
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byID := map[string][]porcupine.Operation{}
		for _, o := range all {
			id := o.Input.(keyOp).id
			byID[id] = append(byID[id], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byID {
			out = append(out, ops)
		}
		return out
	},
	Step: func(state, input, output any) []any {
		s, op, seen := state.(keyState), input.(keyOp), output.(keySeen)
		next, refusal := s.after(op)
		switch {
		case op.kind == "read":
			if seen.live != s.live || seen.live && (seen.marker != s.marker || seen.blocked != s.blocked || s.version != 0 && seen.version != s.version) {
				return nil
			}
			if s.live {
				s.version = seen.version
			}
			return []any{s}
		case seen.unknown && refusal != "":
			return []any{s}
		case seen.unknown:
			return []any{s, next}
		case refusal == "maybe": // the version is not known
			if seen.refusal == "" {
				next.version = seen.version
				return []any{next}
			}
			if seen.refusal == "conflict" {
				return []any{s}
			}
			return nil
		case refusal != seen.refusal:
			return nil
		case refusal != "":
			return []any{s}
		}
		if next.live {
			next.version = seen.version
		}
		return []any{next}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// after is the state after a write, its version left open, or the code of the refusal.
func (s keyState) after(op keyOp) (keyState, string) {
	written := keyState{live: true, marker: op.marker, blocked: s.blocked}
	switch op.kind {
	case "create", "update":
		switch {
		case s.dead:
			return s, "dead"
		case !s.live && op.kind == "update":
			return s, "not_found"
		case !s.live:
			return written, ""
		case op.kind == "update" && s.version == 0:
			return written, "maybe"
		case op.read != s.version || op.kind == "create":
			return s, "conflict"
		}
		return written, ""
	case "block", "unblock", "delete":
		if !s.live {
			return s, "not_found"
		}
		if op.kind == "delete" {
			return keyState{dead: true}, ""
		}
		s.version, s.blocked = 0, op.kind == "block"
		return s, ""
	}
	return s, ""
}

// life is a machine between a start and a stop, for the clients.
type life struct {
	node *consensus.Node
	fsm  *fsm.FSM
}

// do carries an operation out; false says that a read had no outcome.
func (l *life) do(ctx context.Context, op *keyOp) (keySeen, bool) {
	var cmd fsm.Command
	switch op.kind {
	case "read":
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := l.node.LeaderIndex(ctx); err != nil {
			return keySeen{}, false
		}
		k, ok := l.fsm.Key(op.id)
		if !ok {
			return keySeen{}, true
		}
		return keySeen{live: true, version: k.Version, marker: k.Hint, blocked: k.Blocked}, true
	case "create", "update":
		if op.kind == "update" {
			k, ok := l.fsm.Key(op.id) // perhaps an old one: then it is refused
			if !ok {
				return keySeen{}, false
			}
			op.read = k.Version
		}
		enc, err := fsm.EncodedOf(resource.Key{Meta: resource.Meta{ID: op.id}, Hash: resource.HashSecret(op.id), Hint: op.marker})
		if err != nil {
			panic(err)
		}
		cmd = fsm.PutKey{Key: enc, Read: op.read}
	case "block", "unblock":
		cmd = fsm.BlockKey{ID: op.id, Blocked: op.kind == "block"}
	case "delete":
		cmd = fsm.DeleteKey{ID: op.id}
	}
	res, err := l.node.Propose(ctx, fsm.Actor{Kind: "master"}, "r", cmd)
	switch code := resource.Code(err); {
	case err == nil:
		return keySeen{version: res.Version}, true
	case code == "" || code == "no_leader" || code == "expired":
		return keySeen{unknown: true}, true
	default:
		return keySeen{refusal: code}, true
	}
}

// history collects what clients saw.
type history struct {
	start time.Time
	n     atomic.Int64

	mu  sync.Mutex // guards ops
	ops []porcupine.Operation
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// client works through one machine until ctx ends.
func (h *history) client(ctx context.Context, id int, at *atomic.Pointer[life]) {
	rnd := rand.New(rand.NewPCG(uint64(id), 7))
	wait := time.NewTicker(5 * time.Millisecond)
	defer wait.Stop()
	for ctx.Err() == nil {
		l := at.Load()
		if l == nil { // the machine is down
			<-wait.C
			continue
		}
		n := h.n.Add(1)
		op := keyOp{id: fmt.Sprintf("key-%d", int(n)/linearOps*linearSlots+rnd.IntN(linearSlots)), marker: fmt.Sprint(n)}
		switch p := rnd.IntN(100); {
		case p < 20:
			op.kind = "create"
		case p < 45:
			op.kind = "update"
		case p < 53:
			op.kind = "block"
		case p < 61:
			op.kind = "unblock"
		case p < 63:
			op.kind = "delete"
		default:
			op.kind = "read"
		}
		called := time.Since(h.start)
		seen, ok := l.do(ctx, &op)
		returned := time.Since(h.start)
		if !ok {
			continue
		}
		if seen.unknown {
			returned = math.MaxInt64
		}
		h.mu.Lock()
		h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: op, Call: int64(called), Output: seen, Return: int64(returned)})
		h.mu.Unlock()
	}
}

// Clients of all nodes create, change, block, delete and read a few keys while leadership
// moves and leaders die: there must be an order of all operations on each key that agrees
// with what everybody saw.
func TestKeys_areLinearizable(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs for 5 s")
	}
	ms := three(t)
	lives := make([]atomic.Pointer[life], len(ms))
	up := func(i int) { lives[i].Store(&life{ms[i].node, ms[i].fsm}) }
	h := &history{start: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range ms {
		up(i)
		wg.Go(func() { h.client(ctx, 2*i, &lives[i]) })
		wg.Go(func() { h.client(ctx, 2*i+1, &lives[i]) })
	}
	beat := time.NewTicker(400 * time.Millisecond)
	defer beat.Stop()
	transfers, deaths := 0, 0
	for i := 0; time.Since(h.start) < linearFor || h.count() < 200 || transfers+deaths < 3; i++ { // fewer prove little
		<-beat.C
		l := leader(t, ms)
		if i%3 < 2 {
			if err := l.node.Transfer(ctx, ""); err == nil {
				transfers++
			}
			continue
		}
		j := slices.Index(ms, l)
		lives[j].Store(nil)
		l.stop(false)
		deaths++
		<-beat.C
		l.restart()
		up(j)
	}
	cancel()
	wg.Wait()
	unknown, reads, refused := 0, 0, 0
	for _, o := range h.ops {
		switch seen := o.Output.(keySeen); {
		case seen.unknown:
			unknown++
		case seen.refusal != "":
			refused++
		case o.Input.(keyOp).kind == "read":
			reads++
		}
	}
	t.Logf("%d operations: %d reads, %d refused, %d of unknown outcome; %d transfers, %d deaths", len(h.ops), reads, refused, unknown, transfers, deaths)
	start := time.Now()
	if res := porcupine.CheckOperationsTimeout(keyModel.ToModel(), h.ops, 2*time.Minute); res != porcupine.Ok {
		t.Errorf("the history is not linearizable: %s", res)
		for _, ops := range keyModel.Partition(h.ops) {
			if porcupine.CheckOperationsTimeout(keyModel.ToModel(), ops, 5*time.Second) == porcupine.Ok {
				continue
			}
			for _, o := range ops {
				t.Logf("client %d, %v to %v: %+v -> %+v", o.ClientId, time.Duration(o.Call), time.Duration(o.Return), o.Input, o.Output)
			}
		}
	}
	t.Logf("checked in %v", time.Since(start))
}

func TestKeyModel_findsWhatIsWrong(t *testing.T) {
	t.Parallel()
	at := func(from, to int64, op keyOp, seen keySeen) porcupine.Operation {
		return porcupine.Operation{Input: op, Output: seen, Call: from, Return: to}
	}
	create := at(1, 2, keyOp{kind: "create", marker: "a"}, keySeen{version: 5})
	for _, tt := range []struct {
		name string
		ops  []porcupine.Operation
		want bool
	}{
		{"a read after a write", []porcupine.Operation{create, at(3, 4, keyOp{kind: "read"}, keySeen{live: true, version: 5, marker: "a"})}, true},
		{"a stale read", []porcupine.Operation{create, at(3, 4, keyOp{kind: "read"}, keySeen{})}, false},
		{"a read meanwhile", []porcupine.Operation{create, at(1, 4, keyOp{kind: "read"}, keySeen{})}, true},
		{"two creations", []porcupine.Operation{create, at(3, 4, keyOp{kind: "create", marker: "b"}, keySeen{version: 6})}, false},
		{"a lost block", []porcupine.Operation{
			create, at(3, 4, keyOp{kind: "block"}, keySeen{version: 6}),
			at(5, 6, keyOp{kind: "read"}, keySeen{live: true, version: 5, marker: "a"}),
		}, false},
		{"an update of what was replaced", []porcupine.Operation{
			create, at(3, 4, keyOp{kind: "block"}, keySeen{version: 6}),
			at(5, 6, keyOp{kind: "update", read: 5, marker: "b"}, keySeen{version: 7}),
		}, false},
		{"an unknown delete that came later", []porcupine.Operation{
			create, at(3, math.MaxInt64, keyOp{kind: "delete"}, keySeen{unknown: true}),
			at(5, 6, keyOp{kind: "read"}, keySeen{live: true, version: 5, marker: "a"}),
			at(7, 8, keyOp{kind: "read"}, keySeen{}),
		}, true},
		{"one that is alive again", []porcupine.Operation{
			create, at(3, math.MaxInt64, keyOp{kind: "delete"}, keySeen{unknown: true}),
			at(5, 6, keyOp{kind: "read"}, keySeen{}),
			at(7, 8, keyOp{kind: "read"}, keySeen{live: true, version: 5, marker: "a"}),
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := porcupine.CheckOperations(keyModel.ToModel(), tt.ops); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
