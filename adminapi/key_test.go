package adminapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func TestKey_life(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()

	team, err := c.Teams().Create(ctx, map[string]any{"name": "research"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.Keys().Create(ctx, map[string]any{
		"name": "notebook", "team_id": "research", "models": []string{"demo"},
		"budgets": []map[string]any{{"usd": 1.25, "per": "day"}},
		"limits":  map[string]any{"rpm": 60},
	})
	if err != nil {
		t.Fatal(err)
	}
	if k.TeamID != team.ID || !strings.HasPrefix(k.Secret, "sk-") || k.Version == 0 || k.CreatedBy != "master" {
		t.Errorf("created key: got team %q, secret %q, version %d, by %q", k.TeamID, k.Secret, k.Version, k.CreatedBy)
	}
	if len(k.Accounts) != 1 || k.Accounts[0].Limit != "1.25" ||
		k.Accounts[0].ResetsAt.Std() != time.Date(2026, 3, 12, 0, 0, 0, 0, time.UTC) {
		t.Errorf("accounts: got %+v, want one of $1.25 that resets at midnight", k.Accounts)
	}
	if _, ok := h.State.KeyByHash(resource.HashSecret(k.Secret)); !ok {
		t.Error("the secret of the answer opens nothing")
	}

	again, err := c.Keys().One(ctx, "notebook")
	if err != nil {
		t.Fatal(err)
	}
	if again.Secret != "" {
		t.Errorf("a read shows the secret %q", again.Secret)
	}

	again.Models = nil // remove an optional field, put back everything as it was read
	replaced, err := c.Keys().Replace(ctx, k.ID, again)
	if err != nil {
		t.Fatal(err)
	}
	if len(replaced.Models) != 0 || replaced.Hash != k.Hash || *replaced.Limits.RPM != 60 {
		t.Errorf("replaced: got models %v, limits %+v", replaced.Models, replaced.Limits)
	}
	_, err = c.Keys().Replace(ctx, k.ID, again)
	wantProblem(t, err, http.StatusConflict, "conflict")

	patched, err := c.Keys().Patch(ctx, "notebook", map[string]any{"limits": map[string]any{"rpm": nil, "tpm": 10}})
	if err != nil {
		t.Fatal(err)
	}
	if patched.Limits.RPM != nil || *patched.Limits.TPM != 10 {
		t.Errorf("patched limits: got %+v, want tpm alone", patched.Limits)
	}

	if err := c.Keys().Delete(ctx, "notebook"); err != nil {
		t.Fatal(err)
	}
	_, err = c.Keys().One(ctx, k.ID)
	wantProblem(t, err, http.StatusNotFound, "not_found")
	_, err = c.Keys().Create(ctx, map[string]any{"id": k.ID})
	wantProblem(t, err, http.StatusConflict, "dead")
}

func wantProblem(t *testing.T, err error, status int, code string) {
	t.Helper()
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != status || p.Code != code {
		t.Errorf("got %#v, want a problem %d %s", err, status, code)
	}
}

func TestKey_rotate(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	first, err := c.Keys().Create(ctx, map[string]any{"name": "k"})
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.RotateKey(ctx, "k", client.Rotate{Grace: "24h"})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{first.Secret, second.Secret} {
		if a := h.Call(secret, "GET", "/key/info", ""); a.Status != 200 {
			t.Errorf("in the grace: got %d %s", a.Status, a.Body)
		}
	}
	h.Advance(25 * time.Hour)
	if a := h.Call(first.Secret, "GET", "/key/info", ""); a.Status != 401 {
		t.Errorf("old secret after the grace: got %d", a.Status)
	}
	third, err := c.RotateKey(ctx, "k", client.Rotate{Secret: "sk-chosen-by-its-owner"})
	if err != nil {
		t.Fatal(err)
	}
	if third.Secret != "sk-chosen-by-its-owner" || third.Hint != "sk-...wner" || len(third.OldHashes) != 0 {
		t.Errorf("rotated: got secret %q, hint %q, old %d", third.Secret, third.Hint, len(third.OldHashes))
	}
	if a := h.Call(second.Secret, "GET", "/key/info", ""); a.Status != 401 {
		t.Errorf("old secret without a grace: got %d", a.Status)
	}
	_, err = c.RotateKey(ctx, "k", client.Rotate{Grace: "1y"})
	wantProblem(t, err, http.StatusBadRequest, "invalid")
	_, err = c.RotateKey(ctx, "k", client.Rotate{Secret: "short"})
	wantProblem(t, err, http.StatusBadRequest, "invalid")
}

func TestKey_block(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	k, err := c.Keys().Create(ctx, map[string]any{"name": "k"})
	if err != nil {
		t.Fatal(err)
	}
	saved, err := c.Keys().One(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	h.Late, h.LateUntil = []string{"n2", "n3"}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := c.Block(ctx, "keys", "k", client.Blocked); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Pending(), " "); got != "n2 n3" {
		t.Errorf("pending: got %q, want n2 n3", got)
	}
	if r := c.Receipt(); !slices.Equal(r.EnforcedBy, []string{"n1"}) || !r.Until.Equal(h.LateUntil) {
		t.Errorf("receipt: got %+v", r)
	}
	if len(h.Confirmed) != 1 || h.Confirmed[0] != h.State.Applied() {
		t.Errorf("confirmed: got %v, want the index of the block", h.Confirmed)
	}
	a := h.Call(adminapitest.MasterKey, "POST", "/key/block", `{"key":"`+k.ID+`"}`)
	if got := a.Header.Get(client.HeaderUntil); got != "2026-01-02T03:04:05Z" || a.Header.Get(client.HeaderEnforced) != "n1" {
		t.Errorf("LiteLLM's route: got %d, %v", a.Status, a.Header)
	}
	if a := h.Call(k.Secret, "GET", "/key/info", ""); a.Status != 401 {
		t.Errorf("blocked key: got %d", a.Status)
	}
	_, err = c.Keys().Replace(ctx, "k", saved)
	wantProblem(t, err, http.StatusConflict, "conflict") // an edit saved before does not unblock
	saved.Version = h.State.Applied()
	_, err = c.Keys().Replace(ctx, "k", saved)
	wantProblem(t, err, http.StatusConflict, "conflict") // nor does one with the right version
	patched, err := c.Keys().Patch(ctx, "k", map[string]any{"blocked": false, "tags": []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if patched.Blocked || len(patched.Tags) != 1 {
		t.Errorf("patched: got blocked %v, tags %v", patched.Blocked, patched.Tags)
	}
	born, err := c.Keys().Create(ctx, map[string]any{"blocked": true})
	if err != nil {
		t.Fatal(err)
	}
	if !born.Blocked {
		t.Error("a key created as blocked is not")
	}
}

func TestKey_refusals(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/keys", `{"name":"taken"}`)
	h.Must("POST", "/api/v1/users", `{"id":"there"}`)
	h.Must("POST", "/api/v1/customers", `{"id":"there"}`)
	version := h.Must("GET", "/api/v1/keys/taken", "")["version"]
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code, field              string
	}{
		{"unknown field", "POST", "/api/v1/keys", `{"modells":["x"]}`, 400, "invalid", "modells"},
		{"field twice", "POST", "/api/v1/keys", `{"name":"a","name":"b"}`, 400, "invalid", "body"},
		{"wrong case", "POST", "/api/v1/keys", `{"Name":"a"}`, 400, "invalid", "Name"},
		{"not an object", "POST", "/api/v1/keys", `[]`, 400, "invalid", "body"},
		{"no body", "POST", "/api/v1/keys", ``, 400, "invalid", ""},
		{"broken", "POST", "/api/v1/keys", `{"name":`, 400, "invalid", "body"},
		{"wrong type", "POST", "/api/v1/keys", `{"limits":{"rpm":"many"}}`, 400, "invalid", "limits.rpm"},
		{"wrong value", "POST", "/api/v1/keys", `{"budgets":[{"usd":1,"per":"year"}]}`, 400, "invalid", "budgets[0].per"},
		{"no such team", "POST", "/api/v1/keys", `{"team_id":"nobody"}`, 400, "invalid", "team_id"},
		{"no such budget", "POST", "/api/v1/keys", `{"budget_id":"nothing"}`, 400, "invalid", "budget_id"},
		{"bad secret", "POST", "/api/v1/keys", `{"secret":"abc"}`, 400, "invalid", "secret"},
		{"bad id", "POST", "/api/v1/keys", `{"id":"a/b"}`, 400, "invalid", "id"},
		{"bad role", "POST", "/api/v1/keys", `{"role":"root"}`, 400, "invalid", "role"},
		{"name taken", "POST", "/api/v1/keys", `{"name":"taken"}`, 409, "exists", ""},
		{"id taken", "POST", "/api/v1/users", `{"id":"there"}`, 409, "exists", ""},
		{"id taken", "POST", "/api/v1/customers", `{"id":"there"}`, 409, "exists", ""},
		{"secret on update", "PATCH", "/api/v1/keys/taken", `{"secret":"sk-0123456789abcdef"}`, 400, "invalid", "secret"},
		{"hash on update", "PATCH", "/api/v1/keys/taken", `{"hash":"00"}`, 400, "invalid", "hash"},
		{"creator on update", "PATCH", "/api/v1/keys/taken", `{"created_by":"me"}`, 400, "invalid", "created_by"},
		{"old version", "PATCH", "/api/v1/keys/taken", `{"version":7777}`, 409, "conflict", ""},
		{"no version", "PUT", "/api/v1/keys/taken", `{"name":"x"}`, 428, "version_required", ""},
		{"unknown key", "PATCH", "/api/v1/keys/none", `{}`, 404, "not_found", ""},
		{"unknown parameter", "GET", "/api/v1/keys?nme=x", ``, 400, "invalid", "query.nme"},
		{"limit too high", "GET", "/api/v1/keys?limit=9999", ``, 400, "invalid", "query.limit"},
		{"unknown path", "GET", "/api/v1/nothing", ``, 404, "not_found", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body)
			if a.Status != tt.status || a.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("got %d %s: %s, want %d", a.Status, a.Header.Get("Content-Type"), a.Body, tt.status)
			}
			p := a.Object(t)
			if p["code"] != tt.code || p["title"] == "" {
				t.Errorf("got code %v, want %s: %s", p["code"], tt.code, a.Body)
			}
			if tt.field != "" && !strings.Contains(string(a.Body), `"name":"`+tt.field+`"`) {
				t.Errorf("got %s, want field %s", a.Body, tt.field)
			}
		})
	}
	if now := h.Must("GET", "/api/v1/keys/taken", "")["version"]; now != version {
		t.Errorf("a refused request changed the key: version %v, want %v", now, version)
	}
}

func TestMinIndex(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/teams", `{"name":"t"}`)
	index := a.Header.Get(client.HeaderIndex)
	if index == "" || a.Header.Get("ETag") == "" || a.Status != http.StatusCreated {
		t.Fatalf("got %d, index %q, ETag %q", a.Status, index, a.Header.Get("ETag"))
	}
	if got := h.Call(adminapitest.MasterKey, "GET", "/api/v1/teams/t", "", client.HeaderMinIndex, index); got.Status != 200 {
		t.Errorf("own index: got %d %s", got.Status, got.Body)
	}
	if got := h.Call(adminapitest.MasterKey, "GET", "/api/v1/teams/t", "", client.HeaderMinIndex, "9-1"); got.Status != 503 || got.Object(t)["code"] != "behind" {
		t.Errorf("later generation: got %d %s", got.Status, got.Body)
	}
	if got := h.Call(adminapitest.MasterKey, "GET", "/api/v1/teams/t", "", client.HeaderMinIndex, "x"); got.Status != 400 {
		t.Errorf("no index: got %d %s", got.Status, got.Body)
	}
	if got := h.Call("sk-unknown-unknown", "GET", "/api/v1/teams/t", "", client.HeaderMinIndex, "0-99999"); got.Status != 401 {
		t.Errorf("a stranger waits for an index: got %d %s", got.Status, got.Body)
	}
}

// TestMinIndex_RevokedMeanwhile asks for the index of the caller's own revocation, which
// comes after the caller was authenticated.
func TestMinIndex_RevokedMeanwhile(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	const secret = "sk-viewer-0123456789"
	made := h.Must("POST", "/api/v1/keys", `{"name":"v","role":"proxy_admin_viewer","secret":"`+secret+`"}`)
	id, _ := made["id"].(string)
	h.Admitted = func(string) {
		h.Admitted = nil
		if _, err := h.Propose(t.Context(), fsm.Actor{Kind: "master"}, "", fsm.BlockKey{ID: id, Blocked: true}); err != nil {
			t.Error(err)
		}
	}
	index := fmt.Sprintf("0-%d", h.State.Applied()+1)
	if got := h.Call(secret, "GET", "/api/v1/keys", "", client.HeaderMinIndex, index); got.Status != 401 {
		t.Errorf("got %d %s, want 401", got.Status, got.Body)
	}
}
