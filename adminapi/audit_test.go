package adminapi_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/resource"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	h.Must("POST", "/api/v1/teams", `{"name":"a","id":"t1"}`, "Litellm-Changed-By", "the deploy job\xff", "X-Request-Id", "r1")
	h.Must("PATCH", "/api/v1/teams/a", `{"tags":["x"]}`)
	secret, _ := h.Must("POST", "/api/v1/keys", `{"name":"k","metadata":{"webhook_token":"hush"}}`)["secret"].(string)
	h.Must("POST", "/api/v1/credentials", `{"name":"c","provider":"openai","api_key":"sk-provider-secret"}`)
	h.Must("PATCH", "/api/v1/credentials/c", `{"api_key":"sk-provider-other"}`)
	h.Must("POST", "/api/v1/keys/k/block", ``)
	h.Must("DELETE", "/api/v1/teams/a", ``)

	e, err := c.AuditEntry(ctx, 2)
	want := resource.AuditEntry{
		Number: 2, Index: 2, At: e.At, Actor: "master", Address: "127.0.0.1", Action: "put_team", Kind: "team", ID: "t1", Name: "a",
		Version: 1, Fields: []string{"tags"}, After: json.RawMessage(`{"tags":["x"]}`), RequestID: e.RequestID, Previous: e.Previous, Hash: e.Hash,
	}
	if d := cmp.Diff(want, e); d != "" || err != nil || e.RequestID == "" {
		t.Errorf("entry differs (-want +got, %v):\n%s", err, d)
	}
	for _, tt := range []struct {
		name   string
		filter string
		want   string // numbers
	}{
		{"all", "", "[7 6 5 4 3 2 1]"},
		{"of a kind", "kind=team", "[7 2 1]"},
		{"of a record", "kind=team&id=t1&limit=2", "[7 2]"},
		{"oldest first", "sort=number&limit=2", "[1 2]"},
		{"by action", "action=block_key", "[6]"},
		{"by address", "address=127.0.0.1&limit=1", "[7]"},
		{"by another address", "address=127.0.0.2", "[]"},
		{"today", "from=2026-03-11&to=2026-03-11&limit=1", "[7]"},
		{"tomorrow", "from=2026-03-12", "[]"},
		{"text", "q=The+Deploy", "[1]"},
	} {
		q, err := url.ParseQuery(tt.filter)
		if err != nil {
			t.Fatal(err)
		}
		page, err := c.Audit(ctx, q)
		numbers := []uint64{}
		for _, e := range page.Items {
			numbers = append(numbers, e.Number)
		}
		if got := fmt.Sprint(numbers); got != tt.want || err != nil {
			t.Errorf("%s: got %s (%v), want %s", tt.name, got, err, tt.want)
		}
	}
	_, err = c.Audit(ctx, url.Values{"from": {"soon"}})
	wantProblem(t, err, 400, "invalid")
	_, err = c.AuditEntry(ctx, 99)
	wantProblem(t, err, 404, "not_found")

	all := string(h.Call(adminapitest.MasterKey, "GET", "/api/v1/audit", "").Body)
	for _, s := range []string{secret, "sk-provider", "hush", "box of", resource.HashSecret(secret).String()} {
		if strings.Contains(all, s) {
			t.Errorf("the audit log tells %q", s)
		}
	}
	if !strings.Contains(all, `"fingerprint"`) || !strings.Contains(all, `"for":"the deploy job"`) {
		t.Errorf("got %s", all)
	}
	if v, err := c.VerifyAudit(ctx); err != nil || !v.Verified || v.Entries != 7 {
		t.Errorf("verified: got %+v (%v)", v, err)
	}
}

func TestAudit_Export(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	for i := range 3 {
		h.Must("POST", "/api/v1/teams", fmt.Sprintf(`{"name":"t%d"}`, i))
	}
	for _, tt := range []struct {
		filter string
		want   uint64 // entries; each export is one more
	}{{"format=jsonl", 4}, {"format=csv", 5}, {"format=csv&kind=team", 3}, {"kind=audit", 4}} {
		q, err := url.ParseQuery(tt.filter)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := c.ExportAudit(ctx, q, &b); err != nil {
			t.Fatal(err)
		}
		v, err := (&audit.Verifier{}).Verify(bytes.NewReader(b.Bytes()))
		if err != nil || v.Entries != tt.want {
			t.Errorf("%s: got %d entries (%v), want %d", tt.filter, v.Entries, err, tt.want)
		}
	}
	wantProblem(t, c.ExportAudit(ctx, url.Values{"format": {"xml"}}, &bytes.Buffer{}), 400, "invalid")
	h.Down = resource.ErrNoLeader
	wantProblem(t, c.ExportAudit(ctx, nil, &bytes.Buffer{}), 503, "no_leader")
}

// pruned is a state whose audit log loses its oldest entries right after it was asked how far it goes.
type pruned struct {
	adminapi.State
	ca    []byte
	prune func()
}

func (p *pruned) Cluster() (fsm.ClusterInfo, bool) {
	return fsm.ClusterInfo{ClusterID: "c1", CACert: p.ca}, true
}

func (p *pruned) AuditExtent() audit.Extent {
	x := p.State.AuditExtent()
	if do := p.prune; do != nil {
		p.prune = nil
		do()
	}
	return x
}

// A log that is pruned while it is verified is whole; no export lacks what was pruned meanwhile.
func TestAudit_PrunedMeanwhile(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &pruned{}
	if p.ca, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	h := adminapitest.New(t, func(c *adminapi.Config) { p.State, c.State = c.State, p })
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	for i := range 20 {
		h.Must("POST", "/api/v1/teams", fmt.Sprintf(`{"name":"t%d"}`, i))
	}
	pruneTo := func(number uint64) func() {
		return func() {
			e, ok := h.State.AuditEntry(number)
			a := resource.AuditAnchor{Cluster: "c1", Number: number, Index: e.Index, At: e.At, Hash: e.Hash}
			if err := audit.Sign(&a, key); err != nil || !ok {
				t.Errorf("sign: %v, %v", ok, err)
			}
			if _, err := h.Propose(ctx, fsm.Actor{Kind: "node", ID: "n1"}, "", fsm.PruneAudit{Anchor: a}); err != nil {
				t.Error(err)
			}
		}
	}
	p.prune = pruneTo(5)
	if v, err := c.VerifyAudit(ctx); err != nil || !v.Verified || v.First != 6 || v.Anchor == nil || v.Anchor.Number != 5 {
		t.Errorf("pruned while it was verified: got %+v (%v)", v, err)
	}
	p.prune = pruneTo(9)
	for err = errors.New("not yet"); err != nil; { // it is cut off once, unless Go's client asks again by itself
		var b bytes.Buffer
		if err = c.ExportAudit(ctx, nil, &b); err != nil {
			continue
		}
		if v, err := (&audit.Verifier{CA: p.ca}).Verify(&b); err != nil || v.First != 10 {
			t.Errorf("pruned while it was exported: got %+v (%v)", v, err)
		}
	}
}

func TestAudit_Events(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	plain, _ := h.Must("POST", "/api/v1/keys", `{"name":"plain"}`)["secret"].(string)
	h.Events()
	for _, tt := range []struct {
		name, key, path string
		want            []resource.AuditEvent
	}{
		{"a wrong key", "sk-wrong-key-0123456789", "/api/v1/teams", []resource.AuditEvent{{Action: "sign_in", Outcome: resource.AuditFailed}}},
		{"on LiteLLM's paths, too", "sk-wrong-key-0123456789", "/team/list", []resource.AuditEvent{{Action: "sign_in", Outcome: resource.AuditFailed}}},
		{"not allowed", plain, "/api/v1/audit", []resource.AuditEvent{{Actor: "key", Action: "access", Kind: "route", ID: "list-audit", Outcome: resource.AuditDenied}}},
		{"an admin", adminapitest.MasterKey, "/api/v1/teams", []resource.AuditEvent{{Actor: "master", Action: "sign_in"}}},
		{"a client about itself", plain, "/api/v1/keys/plain", nil},
	} {
		h.Call(tt.key, http.MethodGet, tt.path, "")
		got := h.Events()
		for i := range got {
			if got[i].Address != "127.0.0.1" || got[i].RequestID == "" {
				t.Errorf("%s: got %+v, want the caller's address", tt.name, got[i])
			}
			got[i].Address, got[i].RequestID = "", ""
			got[i].Actor, _, _ = strings.Cut(got[i].Actor, "/")
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: events differ (-want +got):\n%s", tt.name, d)
		}
	}
}

// TestAudit_Unbroken finds that the node's own log was changed.
func TestAudit_Unbroken(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/teams", `{"name":"a"}`)
	links := h.State.AuditLinks(1, 10)
	links[0].Entry[3]++
	v := &audit.Verifier{}
	err := v.Add(links[0])
	if b, ok := errors.AsType[*audit.Broken](err); !ok || b.Number != 1 {
		t.Errorf("got %v", err)
	}
}
