package requestlog

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/resource"
)

const (
	// Method is the name under which nodes ask each other.
	Method = "requestlog"

	defaultTimeout = 4 * time.Second
	maxAnswer      = 256 << 20 // of an answer, unpacked
)

// Node is a member that may have rows.
type Node struct{ ID, Name string }

// ClusterConfig says whom a Cluster asks.
type ClusterConfig struct {
	Log      *Log
	Contents *contents.Store // nil: this node keeps none
	Nodes    func() []Node   // all members, this one too
	// Call asks another node to do a method, which answers with its Serve.
	Call    func(ctx context.Context, nodeID, method string, body []byte) ([]byte, error)
	Timeout time.Duration // of one node's answer; 0: 4 s
	Logger  *slog.Logger  // nil: discards
}

// Cluster asks all nodes at once. What a node does not answer in time is left out, and the
// node is named.
type Cluster struct{ cfg ClusterConfig }

// NewCluster returns the Cluster.
func NewCluster(cfg ClusterConfig) *Cluster {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Cluster{cfg}
}

// question is what one node asks another.
type question struct {
	Rows    *Query        `json:"rows,omitempty"`
	Usage   *rollup.Query `json:"usage,omitempty"`
	Content *contentKey   `json:"content,omitempty"`
	Totals  *TotalsQuery  `json:"totals,omitempty"`
	Check   *struct{}     `json:"check,omitempty"`
	Cells   *copyQuery    `json:"cells,omitempty"`
}

type contentKey struct {
	RequestID string `json:"request_id"`
	KeyID     string `json:"key_id,omitempty"`
}

// reply is one node's answer.
type reply struct {
	Page    Page              `json:"page,omitzero"`
	Lines   []rollup.Line     `json:"lines,omitempty"`
	Content *contents.Content `json:"content,omitempty"`
	Totals  []Total           `json:"totals,omitempty"`
	Report  *Report           `json:"report,omitempty"`
	Cells   *copyPart         `json:"cells,omitempty"`
	Fault   *fault            `json:"fault,omitempty"`
}

// fault is an error that the asker, not the asked, is to blame for.
type fault struct {
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
}

// Serve answers what another node asks.
func (c *Cluster) Serve(ctx context.Context, _ string, body []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	r, err := c.own(ctx, &q)
	if in, ok := errors.AsType[*resource.Invalid](err); ok {
		r, err = &reply{Fault: &fault{in.Field, in.Reason}}, nil
	}
	if err != nil {
		return nil, err
	}
	return pack(r)
}

// own answers for this node.
func (c *Cluster) own(ctx context.Context, q *question) (r *reply, err error) {
	r = &reply{}
	switch {
	case q.Rows != nil:
		r.Page, err = c.cfg.Log.Rows(ctx, *q.Rows)
	case q.Usage != nil:
		r.Lines, err = c.cfg.Log.Usage(ctx, *q.Usage)
	case q.Content != nil:
		if c.cfg.Contents != nil {
			r.Content, err = c.cfg.Contents.Find(q.Content.RequestID, q.Content.KeyID)
		}
	case q.Totals != nil:
		r.Totals, err = c.cfg.Log.Totals(ctx, *q.Totals)
	case q.Check != nil:
		r.Report, err = c.cfg.Log.Check(ctx)
	case q.Cells != nil:
		r.Cells, err = c.cfg.Log.cellsSince(q.Cells)
	default:
		err = errors.New("a newer node asks what this version does not know")
	}
	return r, err
}

func pack(r *reply) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(w).Encode(r), w.Close()); err != nil {
		return nil, fmt.Errorf("pack answer: %w", err)
	}
	return b.Bytes(), nil
}

func unpack(b []byte) (*reply, error) {
	in := flate.NewReader(bytes.NewReader(b))
	defer in.Close() //nolint:errcheck // of a buffer
	var r reply
	if err := json.NewDecoder(io.LimitReader(in, maxAnswer)).Decode(&r); err != nil {
		return nil, fmt.Errorf("unpack answer: %w", err)
	}
	if f := r.Fault; f != nil {
		return nil, &resource.Invalid{Field: f.Field, Reason: f.Reason}
	}
	return &r, nil
}

// ask asks all nodes at once; make gives each its question.
func (c *Cluster) ask(ctx context.Context, timeout time.Duration, make func(n Node) *question) (map[string]*reply, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nodes := c.cfg.Nodes()
	replies, errs := map[string]*reply{}, map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			r, err := c.askOne(ctx, n.ID, make(n))
			mu.Lock()
			defer mu.Unlock()
			if replies[n.ID] = r; err != nil {
				errs[n.ID] = err
				delete(replies, n.ID)
			}
		})
	}
	wg.Wait()
	var missing []string
	for _, n := range nodes {
		err := errs[n.ID]
		if in, ok := errors.AsType[*resource.Invalid](err); ok {
			return nil, nil, in
		}
		if err != nil {
			c.cfg.Logger.Warn("node gives no answer about its requests", "peer", n.Name, "error", err)
			missing = append(missing, cmp.Or(n.Name, n.ID))
		}
	}
	slices.Sort(missing)
	return replies, missing, nil
}

func (c *Cluster) askOne(ctx context.Context, id string, q *question) (*reply, error) {
	if id == c.cfg.Log.cfg.NodeID {
		return c.own(ctx, q)
	}
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if b, err = c.cfg.Call(ctx, id, Method, b); err != nil {
		return nil, err
	}
	return unpack(b)
}

// Rows answers with the rows of all nodes. An answer without those of some nodes names them.
func (c *Cluster) Rows(ctx context.Context, q Query) (page Page, missing []string, err error) {
	if err := q.Validate(); err != nil {
		return Page{}, nil, err
	}
	replies, missing, err := c.ask(ctx, c.cfg.Timeout, func(Node) *question { return &question{Rows: &q} })
	if err != nil {
		return Page{}, nil, err
	}
	for _, r := range replies {
		page.Rows = append(page.Rows, r.Page.Rows...)
		page.Total += r.Page.Total
		page.More = page.More || r.Page.More
	}
	slices.SortFunc(page.Rows, func(a, b Row) int { return q.compare(&a, &b) })
	if len(page.Rows) > q.Limit {
		page.Rows, page.More = page.Rows[:q.Limit], true
	}
	return page, missing, nil
}

// Usage answers with the spend on all nodes. Spend on a node that gives no answer, or was
// removed, is taken from this node's copy of its hours and days; missing names such a node
// too, with the time of the copy.
func (c *Cluster) Usage(ctx context.Context, q rollup.Query) (lines []rollup.Line, missing []string, err error) {
	if err := q.Validate(); err != nil {
		return nil, nil, &resource.Invalid{Field: "query", Reason: err.Error()}
	}
	replies, missing, err := c.ask(ctx, c.cfg.Timeout, func(Node) *question { return &question{Usage: &q} })
	if err != nil {
		return nil, nil, err
	}
	answers := make([][]rollup.Line, 0, len(replies))
	for _, r := range replies {
		answers = append(answers, r.Lines)
	}
	missing, err = c.addCopies(q, replies, missing, &answers)
	if err != nil {
		return nil, nil, err
	}
	return rollup.Merge(answers...), missing, nil
}

// addCopies adds the copies of the nodes that gave no answer, and of those that are gone.
func (c *Cluster) addCopies(q rollup.Query, replies map[string]*reply, missing []string, answers *[][]rollup.Line) ([]string, error) {
	ids, err := c.cfg.Log.copiedNodes()
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, n := range c.cfg.Nodes() {
		names[n.ID] = cmp.Or(n.Name, n.ID)
	}
	for _, id := range ids {
		if replies[id] != nil || id == c.cfg.Log.cfg.NodeID {
			continue
		}
		lines, have, ok, err := c.cfg.Log.copyUsage(id, q)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		*answers = append(*answers, lines)
		if i := slices.Index(missing, names[id]); i >= 0 {
			missing[i] += " (copied " + have.At.Std().Format(time.RFC3339) + ")"
		}
	}
	return missing, nil
}

// Content finds the newest content of a request, of the key if one is named; nil: no node
// that answered has kept it.
func (c *Cluster) Content(ctx context.Context, requestID, keyID string) (*contents.Content, []string, error) {
	replies, missing, err := c.ask(ctx, c.cfg.Timeout, func(Node) *question { return &question{Content: &contentKey{requestID, keyID}} })
	if err != nil {
		return nil, nil, err
	}
	var found *contents.Content
	for _, r := range replies {
		if r.Content != nil && (found == nil || r.Content.Time > found.Time) {
			found = r.Content
		}
	}
	return found, missing, nil
}
