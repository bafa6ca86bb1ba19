// Package adminapitest runs the admin API over a real state machine inside a test, with a
// log of one node that never fails in the place of the consensus.
package adminapitest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft" //nolint:depguard // plays the part of the consensus

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/membership"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/adminapi/replay"
	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/adminapi/spend"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/ledger/evidence"
	"github.com/conclave-llm/conclave/ledger/requestlog"
	"github.com/conclave-llm/conclave/ledger/rollup"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// MasterKey is the master key of every Harness.
const MasterKey = "sk-master-key-of-the-tests"

// Harness is a running server. The exported fields may be set before a request.
type Harness struct {
	T     testing.TB
	State *fsm.FSM
	API   *adminapi.Server
	URL   string
	// Rotation rotates secrets by their schedules when it is told to; n1 is its node.
	Rotation *rotation.Rotation

	mu        sync.Mutex
	now       time.Time
	index     uint64
	Late      []string  // members that Confirm names
	LateUntil time.Time // and their deadline; zero: there is none
	Confirmed []uint64  // indexes that Confirm was asked for
	Stale     error     // why keys with a role are not trusted
	Down      error     // what Propose answers
	Proposing func()    // called by Propose before anything else; nil: nobody wants to know
	Noted     []resource.AuditEvent
	Changes   []membership.Change // of nodes, that were done

	// Requests are the requests of the cluster; nil: there are none.
	Requests spend.Requests
	// Judge decides requests again; nil: all are served, as their model.
	Judge replay.Judge

	// Letters are those that rotations have sent, and Kept the secrets that they have stored, by key;
	// Unsent is why none goes out, nil if they do.
	Letters []rotation.Letter
	Kept    map[string]string
	Unsent  error

	// Models asks a provider for its models; nil: an error.
	Models providers.Lister

	// Admitted is called with each key that was authenticated; nil: nobody wants to know.
	Admitted func(secret string)
}

// New starts a Harness, which ends with the test. change may change what its server is made of.
func New(t testing.TB, change ...func(*adminapi.Config)) *Harness {
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: t.TempDir(), NodeID: "n1", BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &Harness{T: t, State: state, now: time.Date(2026, 3, 11, 10, 0, 0, 0, time.UTC)}
	h.Rotation = rotation.New(rotation.Config{
		NodeID: "n1", Store: h, State: state, Seal: Seal, Open: Open, Now: func() time.Time { return h.Clock() },
		Mail: h.mail, Keep: h.keep, Derive: derive,
	})
	cfg := adminapi.Config{
		Derive: derive, PickUp: h.Rotation.PickUp,
		Store: h, State: state, Cluster: h, Rotator: h, Seal: Seal, Authenticate: h.authenticate,
		Stale:    func() error { return h.Stale },
		Requests: requests{h}, Judge: h.judge, Auditor: h, Models: h.models,
		Now: func() time.Time { return h.Clock() },
	}
	for _, f := range change {
		f(&cfg)
	}
	h.API, err = adminapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.API.Mount(mux)
	mux.Handle(rotation.LinkPath, h.Rotation)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	h.URL = srv.URL
	return h
}

// models hands on to what the harness has by then.
func (h *Harness) models(ctx context.Context, name, base string, c *resource.Credential) ([]string, error) {
	if h.Models == nil {
		return nil, errors.New("nobody is asked")
	}
	return h.Models(ctx, name, base, c)
}

// requests hands on to what the harness has by then.
type requests struct{ h *Harness }

func (h *Harness) judge(state *evidence.State, r *evidence.Request) evidence.Verdict {
	if h.Judge == nil {
		return evidence.Verdict{Decision: evidence.Served, Model: r.Model, Judged: true}
	}
	return h.Judge(state, r)
}

// Rows implements spend.Requests.
func (r requests) Rows(ctx context.Context, q requestlog.Query) (requestlog.Page, []string, error) {
	if r.h.Requests == nil {
		return requestlog.Page{}, nil, nil
	}
	return r.h.Requests.Rows(ctx, q)
}

// Usage implements spend.Requests.
func (r requests) Usage(ctx context.Context, q rollup.Query) ([]rollup.Line, []string, error) {
	if r.h.Requests == nil {
		return nil, nil, nil
	}
	return r.h.Requests.Usage(ctx, q)
}

// Content implements spend.Requests.
func (r requests) Content(ctx context.Context, requestID, keyID string) (*contents.Content, []string, error) {
	if r.h.Requests == nil {
		return nil, nil, nil
	}
	return r.h.Requests.Content(ctx, requestID, keyID)
}

// Verify implements spend.Requests.
func (r requests) Verify(ctx context.Context, index uint64, upTo map[string]uint64, want []requestlog.Replicated) (*requestlog.Verification, error) {
	if r.h.Requests == nil {
		return &requestlog.Verification{Index: index}, nil
	}
	return r.h.Requests.Verify(ctx, index, upTo, want)
}

// Clock tells the time of the server, which stands still.
func (h *Harness) Clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// Advance moves the time.
func (h *Harness) Advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// Seal seals nothing, but makes fingerprints that differ.
func Seal(plaintext, kind, id, field string) (*resource.Sealed, error) {
	sum := resource.HashSecret(plaintext + kind + id + field)
	return &resource.Sealed{DEK: "dek_1", Box: []byte("box of " + plaintext), Fingerprint: sum.String()[:8]}, nil
}

// Open opens what Seal has sealed.
func Open(s *resource.Sealed, _, _, _ string) (string, error) {
	text, ok := strings.CutPrefix(string(s.Box), "box of ")
	if !ok {
		return "", errors.New("box is not of Seal")
	}
	return text, nil
}

func (h *Harness) mail(_ context.Context, l rotation.Letter) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Unsent != nil {
		return h.Unsent
	}
	h.Letters = append(h.Letters, l)
	return nil
}

func (h *Harness) keep(_ context.Context, k *resource.Key, secret string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Unsent != nil {
		return h.Unsent
	}
	if h.Kept == nil {
		h.Kept = map[string]string{}
	}
	h.Kept[k.ID] = secret
	return nil
}

// derive implements adminapi.Config.Derive.
func derive(parts ...string) ([]byte, error) {
	sum := resource.HashSecret(strings.Join(parts, "\x00"))
	return sum[:16], nil
}

// Propose implements records.Store.
func (h *Harness) Propose(_ context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error) {
	if h.Proposing != nil {
		h.Proposing()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Down != nil {
		return fsm.Result{}, h.Down
	}
	h.index++
	env := fsm.Envelope{At: resource.At(h.now), Actor: by, RequestID: requestID, ReadIndex: h.index - 1}
	if _, err := rand.Read(env.CommandID[:]); err != nil {
		return fsm.Result{}, err
	}
	b, err := fsm.Encode(env, cmd)
	if err != nil {
		return fsm.Result{}, err
	}
	applied, ok := h.State.Apply(&raft.Log{Index: h.index, Term: 1, Type: raft.LogCommand, Data: b}).(fsm.Applied)
	if !ok {
		return fsm.Result{}, errors.New("entry was not applied")
	}
	return applied.Result, applied.Err
}

// Note implements adminapi.Auditor: it keeps the event.
func (h *Harness) Note(e resource.AuditEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Noted = append(h.Noted, e)
}

// Record implements adminapi.Auditor.
func (h *Harness) Record(ctx context.Context, e resource.AuditEvent) error {
	_, err := h.Propose(ctx, fsm.Actor{Kind: "node", ID: "n1"}, "", fsm.NoteEvents{Events: []resource.AuditEvent{e}})
	return err
}

// Events returns what was noted since the last call.
func (h *Harness) Events() []resource.AuditEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.Noted
	h.Noted = nil
	return all
}

func (h *Harness) authenticate(r *http.Request) (*resource.Principal, error) {
	secret := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if secret == MasterKey {
		return &resource.Principal{Master: true}, nil
	}
	hash := resource.HashSecret(secret)
	k, ok := h.State.KeyByHash(hash)
	now := resource.At(h.Clock())
	if !ok || k.Blocked || k.ExpiredAt(now) || !k.AcceptsAt(hash, now) {
		return nil, &llm.Error{Kind: llm.Unauthenticated, Code: "invalid_api_key", Message: "The API key is not known."}
	}
	if h.Admitted != nil {
		h.Admitted(secret)
	}
	team, _ := h.State.Catalog().Team(k.TeamID)
	return &resource.Principal{Key: k, Team: team}, nil
}

// Rotate implements membership.Rotator: it begins the rotation of the nodes' certificates and
// refuses every other.
func (h *Harness) Rotate(ctx context.Context, r membership.Rotate) error {
	if r.Kind != memory.RotateCerts {
		return fmt.Errorf("rotate %s: %w", r.Kind, resource.ErrRefused)
	}
	if r.DryRun {
		return nil
	}
	_, err := h.Propose(ctx, r.By, r.RequestID, fsm.BeginRotation{Kind: r.Kind, ID: "certs_1"})
	return err
}

// Members implements adminapi.Cluster: n1 leads, n2 is two entries late.
func (h *Harness) Members(context.Context) []client.Member {
	return []client.Member{
		{ID: "n1", Name: "a", Address: "127.0.0.1:4001", Role: "leader", Voter: true, Leader: true, Reachable: true, Ready: true, Applied: h.State.Applied()},
		{ID: "n2", Name: "b", Address: "127.0.0.1:4011", Role: "voter", Voter: true, Reachable: true, Ready: true, Applied: h.State.Applied(), Lag: 2},
	}
}

// JoinToken implements adminapi.Cluster.
func (h *Harness) JoinToken(ctx context.Context, t membership.Token) (string, error) {
	if t.DryRun {
		return "", nil
	}
	text := "join-for-" + t.TTL.String()
	_, err := h.Propose(ctx, t.By, t.RequestID, fsm.PutJoinToken{
		Hash: resource.HashSecret(text), Expires: resource.At(h.Clock().Add(t.TTL)), Listed: true,
	})
	return text, err
}

// Change implements adminapi.Cluster; the leader is the only one that cannot go.
func (h *Harness) Change(_ context.Context, c membership.Change) (client.Votes, error) {
	if c.ID == "n1" && (c.Verb == "remove" || c.Verb == "demote") {
		return client.Votes{Voters: 1, Need: 1}, fmt.Errorf("0 of 1 voters would answer, and 1 are needed: %w", resource.ErrQuorum)
	}
	if !c.DryRun {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.Changes = append(h.Changes, c)
	}
	return client.Votes{Voters: 2, Alive: 2, Need: 2}, nil
}

// Egress implements adminapi.Cluster.
func (h *Harness) Egress(context.Context) []client.NodeEgress {
	return []client.NodeEgress{{NodeID: "node_a", Node: "a", Report: &client.EgressReport{}}}
}

// Confirm implements adminapi.Cluster.
func (h *Harness) Confirm(_ context.Context, index uint64, _ time.Duration) client.Receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Confirmed = append(h.Confirmed, index)
	r := client.Receipt{EnforcedBy: []string{"n1"}, Pending: slices.Clone(h.Late)}
	if len(r.Pending) > 0 {
		r.Until, r.Forever = h.LateUntil, h.LateUntil.IsZero()
	}
	return r
}

// Client returns a client with the key.
func (h *Harness) Client(key string) *client.Client {
	return client.New(client.Config{Server: h.URL, Key: key})
}

// Answer is a response with its body read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Object decodes the body.
func (a Answer) Object(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.Body, &v); err != nil {
		t.Fatalf("body %q: %v", a.Body, err)
	}
	return v
}

// Call makes one request; header holds pairs.
func (h *Harness) Call(key, method, path, body string, header ...string) Answer {
	h.T.Helper()
	req, err := http.NewRequestWithContext(h.T.Context(), method, h.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		h.T.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.T.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, b}
}

// Must makes a request with the master key that succeeds, and decodes the answer.
func (h *Harness) Must(method, path, body string, header ...string) map[string]any {
	h.T.Helper()
	a := h.Call(MasterKey, method, path, body, header...)
	if a.Status >= 300 {
		h.T.Fatalf("%s %s: got %d %s", method, path, a.Status, a.Body)
	}
	if len(a.Body) == 0 {
		return nil
	}
	return a.Object(h.T)
}
