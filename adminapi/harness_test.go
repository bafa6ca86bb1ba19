package adminapi_test

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

	"github.com/hashicorp/raft"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

const masterKey = "sk-master-key-of-the-tests"

// harness is a server over a real state machine, with a log of one node that never fails.
type harness struct {
	t     testing.TB
	state *fsm.FSM
	api   *adminapi.Server
	url   string

	mu        sync.Mutex
	now       time.Time
	index     uint64
	late      []string // members that Confirm names
	confirmed []uint64
	stale     error
	down      error // what Propose answers
}

func newHarness(t testing.TB) *harness {
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
	h := &harness{t: t, state: state, now: time.Date(2026, 3, 11, 10, 0, 0, 0, time.UTC)}
	h.api, err = adminapi.New(adminapi.Config{
		Store: h, State: state, Cluster: h, Seal: seal, Authenticate: h.authenticate,
		Stale: func() error { return h.stale },
		Now:   func() time.Time { return h.clock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.api.Mount(mux)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

func (h *harness) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *harness) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func seal(plaintext, kind, id, field string) (*resource.Sealed, error) {
	sum := resource.HashSecret(plaintext + kind + id + field)
	return &resource.Sealed{DEK: "dek_1", Box: []byte("box of " + plaintext), Fingerprint: sum.String()[:8]}, nil
}

// Propose implements adminapi.Store.
func (h *harness) Propose(_ context.Context, by fsm.Actor, requestID string, cmd fsm.Command) (fsm.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down != nil {
		return fsm.Result{}, h.down
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
	applied, ok := h.state.Apply(&raft.Log{Index: h.index, Term: 1, Type: raft.LogCommand, Data: b}).(fsm.Applied)
	if !ok {
		return fsm.Result{}, errors.New("Apply gave no Applied")
	}
	return applied.Result, applied.Err
}

func (h *harness) authenticate(r *http.Request) (*resource.Principal, error) {
	secret := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if secret == masterKey {
		return &resource.Principal{Master: true}, nil
	}
	hash := resource.HashSecret(secret)
	k, ok := h.state.KeyByHash(hash)
	now := resource.At(h.clock())
	if !ok || k.Blocked || k.ExpiredAt(now) || !k.AcceptsAt(hash, now) {
		return nil, &llm.Error{Kind: llm.Unauthenticated, Code: "invalid_api_key", Message: "The API key is not known."}
	}
	team, _ := h.state.Catalog().Team(k.TeamID)
	return &resource.Principal{Key: k, Team: team}, nil
}

func (h *harness) Members() []adminapi.Member {
	return []adminapi.Member{
		{ID: "n1", Name: "a", Address: "127.0.0.1:4001", Voter: true, Leader: true, Applied: h.state.Applied()},
		{ID: "n2", Name: "b", Address: "127.0.0.1:4011", Voter: true, Applied: h.state.Applied(), Lag: 2},
	}
}

func (h *harness) JoinToken(_ context.Context, ttl time.Duration) (string, error) {
	return "join-for-" + ttl.String(), nil
}

func (h *harness) Remove(_ context.Context, id string) error {
	if id == "n1" {
		return fmt.Errorf("node %q is the leader: %w", id, resource.ErrRefused)
	}
	return nil
}

func (h *harness) Transfer(context.Context, string) error { return nil }

func (h *harness) Confirm(_ context.Context, index uint64, _ time.Duration) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.confirmed = append(h.confirmed, index)
	return slices.Clone(h.late)
}

// client returns a client with the key.
func (h *harness) client(key string) *client.Client {
	return client.New(client.Config{Server: h.url, Key: key})
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// object decodes the body.
func (a answer) object(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("body %q: %v", a.body, err)
	}
	return v
}

// call makes one request; header holds pairs.
func (h *harness) call(key, method, path, body string, header ...string) answer {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		h.t.Fatal(err)
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
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

// must makes a request with the master key that succeeds, and decodes the answer.
func (h *harness) must(method, path, body string, header ...string) map[string]any {
	h.t.Helper()
	a := h.call(masterKey, method, path, body, header...)
	if a.status >= 300 {
		h.t.Fatalf("%s %s: got %d %s", method, path, a.status, a.body)
	}
	if len(a.body) == 0 {
		return nil
	}
	return a.object(h.t)
}
