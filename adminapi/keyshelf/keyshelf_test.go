package keyshelf_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// store is a store of secrets that tests look into.
type store struct {
	mu   sync.Mutex // guards what follows
	kept map[string]string
	fail string // a part of references that are refused
	lose string // a part of references that are written, but whose writes get no answer; once
}

func (s *store) Fetch(_ context.Context, ref string) (secret.Text, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, ok := s.kept[ref]; ok {
		return secret.New(text), nil
	}
	return secret.Text{}, &secret.Unresolved{Reference: ref, Reason: "not_found", Err: errors.New("nothing is there")}
}

func (s *store) Put(_ context.Context, ref string, value secret.Text, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != "" && strings.Contains(ref, s.fail) {
		return &secret.Unresolved{Reference: ref, Reason: "unavailable", Err: errors.New("it is sealed")}
	}
	s.kept[ref] = value.Reveal()
	if s.lose != "" && strings.Contains(ref, s.lose) {
		s.lose = ""
		return &secret.Unresolved{Reference: ref, Reason: "unavailable", Err: context.DeadlineExceeded}
	}
	return nil
}

func (s *store) Remove(_ context.Context, ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, ref)
	return nil
}

func (s *store) refuse(part string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = part
}

// want compares what is in the store with what should be.
func (s *store) want(t *testing.T, what string, kept map[string]string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.Equal(s.kept, kept) {
		t.Errorf("%s: the store has %v, want %v", what, slices.Sorted(maps.Keys(s.kept)), slices.Sorted(maps.Keys(kept)))
	}
}

// newHarness is a harness with a secret source that keeps keys, once they are told.
func newHarness(t *testing.T) (*adminapitest.Harness, *store) {
	t.Helper()
	s := &store{kept: map[string]string{}}
	return adminapitest.New(t, func(c *adminapi.Config) { c.KeyStore = s }), s
}

const source = `{"name":"vault","plugin":"vault","config":{"address":"https://vault.corp:8200","mount":"secret"},"secrets":{"token":"t"},
	"access_mode":"read_and_write","store_virtual_keys":true,"prefix_for_stored_virtual_keys":"keys/"}`

func TestShelf(t *testing.T) {
	t.Parallel()
	h, s := newHarness(t)
	before := h.Must("POST", "/api/v1/keys", `{"name":"before"}`)
	s.want(t, "no source keeps keys", map[string]string{})
	h.Must("POST", "/api/v1/secret_sources", source)

	alice := h.Must("POST", "/api/v1/keys", `{"name":"alice"}`)
	kept := map[string]string{"vault://keys/alice": alice["secret"].(string)}
	s.want(t, "a key is made", kept)
	if got := h.Must("GET", "/api/v1/keys/alice", "")["stored_in"]; got != "vault://keys/alice" {
		t.Errorf("the key says that it is stored in %v", got)
	}
	odd := h.Must("POST", "/api/v1/keys", `{"name":"of the team/../x"}`)
	kept["vault://keys/virtual-key-"+strings.ReplaceAll(odd["id"].(string), "_", "-")] = odd["secret"].(string)
	s.want(t, "a name that is no path", kept)

	kept["vault://keys/alice"] = h.Must("POST", "/api/v1/keys/alice/rotate", `{}`)["secret"].(string)
	s.want(t, "a key is rotated", kept)
	kept["vault://keys/before"] = h.Must("POST", "/api/v1/keys/before/rotate", `{}`)["secret"].(string)
	s.want(t, "a key from before is rotated", kept)
	if kept["vault://keys/before"] == before["secret"] {
		t.Error("the rotation gave the old secret")
	}
	if a := h.Call(adminapitest.MasterKey, "PATCH", "/api/v1/keys/alice", `{"stored_in":"vault://elsewhere"}`); a.Status != http.StatusBadRequest {
		t.Errorf("a client says where a secret is kept: %d %s", a.Status, a.Body)
	}
	h.Must("PATCH", "/api/v1/keys/alice", `{"name":"alice2"}`)
	kept["vault://keys/alice"] = h.Must("POST", "/api/v1/keys/alice2/rotate", `{}`)["secret"].(string)
	s.want(t, "a key with a new name stays where it is", kept)

	made := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/bulk", `[{"name":"b1"},{"name":"b2","secret":"sk-0123456789abcdef"}]`).Object(t)
	for i, item := range made["items"].([]any) {
		kept[fmt.Sprintf("vault://keys/b%d", i+1)] = item.(map[string]any)["secret"].(string)
	}
	s.want(t, "keys in bulk", kept)
	u := h.Must("POST", "/user/new", `{"user_id":"u1","key_alias":"u1-key"}`)
	kept["vault://keys/u1-key"] = u["key"].(string)
	s.want(t, "a user with a key", kept)

	for _, tt := range []struct{ name, method, path, body, gone string }{
		{"a key is deleted", "DELETE", "/api/v1/keys/alice2", "", "vault://keys/alice"},
		{"as LiteLLM does", "POST", "/key/delete", `{"key_aliases":["b1"]}`, "vault://keys/b1"},
		{"with its user", "POST", "/user/delete", `{"user_ids":["u1"]}`, "vault://keys/u1-key"},
	} {
		if a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body); a.Status >= 300 {
			t.Fatalf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		delete(kept, tt.gone)
		s.want(t, tt.name, kept)
	}
	for i, tt := range []struct{ name, method, path, body string }{
		{"with its user's membership", "DELETE", "/api/v1/teams/t0/members/u2", ""},
		{"as LiteLLM does", "POST", "/team/member_delete", `{"team_id":"t1","user_id":"u2"}`},
		{"with its team", "POST", "/team/delete", `{"team_ids":["t2"]}`},
		{"with the person", "POST", "/api/v1/users/u2/erase", ""},
	} {
		h.Must("POST", "/team/new", fmt.Sprintf(`{"team_id":"t%d"}`, i))
		h.Must("POST", "/team/member_add", fmt.Sprintf(`{"team_id":"t%d","member":{"user_id":"u2","role":"user"}}`, i))
		kept["vault://keys/there"] = h.Must("POST", "/key/generate", fmt.Sprintf(`{"key_alias":"there","team_id":"t%d","user_id":"u2"}`, i))["key"].(string)
		if i == 0 {
			kept["vault://keys/own"] = h.Must("POST", "/key/generate", `{"key_alias":"own","user_id":"u2"}`)["key"].(string)
		}
		s.want(t, "a key of a membership", kept)
		if a := h.Call(adminapitest.MasterKey, tt.method, tt.path, tt.body); a.Status >= 300 {
			t.Fatalf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		delete(kept, "vault://keys/there")
		if i == 3 {
			delete(kept, "vault://keys/own")
		}
		s.want(t, "a key goes "+tt.name, kept)
	}
	if err := s.Put(t.Context(), "vault://keys/b2", secret.New("sk-of-another-key"), ""); err != nil {
		t.Fatal(err)
	}
	h.Call(adminapitest.MasterKey, "DELETE", "/api/v1/keys/b2", "")
	kept["vault://keys/b2"] = "sk-of-another-key"
	s.want(t, "what is there is another key's", kept)
}

// A store that refuses a secret refuses the write, and a write that is refused leaves the store as it was.
func TestShelf_refusals(t *testing.T) {
	t.Parallel()
	h, s := newHarness(t)
	h.Must("POST", "/api/v1/secret_sources", source)
	taken := h.Must("POST", "/api/v1/keys", `{"name":"taken"}`)["secret"].(string)
	kept := map[string]string{"vault://keys/taken": taken}
	s.refuse("bad")
	at := h.State.Applied()
	for _, tt := range []struct{ name, path, body string }{
		{"one", "/api/v1/keys", `{"name":"bad"}`},
		{"LiteLLM's", "/key/generate", `{"key_alias":"bad"}`},
		{"one of many", "/api/v1/keys/bulk", `[{"name":"good"},{"name":"bad"}]`},
		{"of a user", "/user/new", `{"user_id":"u2","key_alias":"bad"}`},
	} {
		a := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body)
		if a.Status != http.StatusBadGateway || !strings.Contains(string(a.Body), "could not be written to vault://keys/bad, so nothing was changed") {
			t.Errorf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		if strings.Contains(string(a.Body), "sk-") {
			t.Errorf("%s: the error holds a secret: %s", tt.name, a.Body)
		}
		s.want(t, tt.name, kept)
	}
	s.refuse("taken")
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/taken/rotate", `{}`); a.Status != http.StatusBadGateway || a.Object(t)["code"] != "secret_store_failed" {
		t.Errorf("rotation: %d %s", a.Status, a.Body)
	}
	if h.State.Applied() != at {
		t.Error("something was committed")
	}
	if a := h.Call(taken, "GET", "/key/info", ""); a.Status != http.StatusOK {
		t.Errorf("the old secret: %d %s", a.Status, a.Body)
	}
	s.refuse("")
	for _, tt := range []struct{ name, path, body string }{
		{"a name that is taken", "/api/v1/keys", `{"name":"taken"}`},
		{"a secret that is taken", "/api/v1/keys", fmt.Sprintf(`{"name":"other","secret":%q}`, taken)},
	} {
		if a := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body); a.Status != http.StatusConflict {
			t.Errorf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		s.want(t, tt.name, kept)
	}
	for _, tt := range []struct{ name, path, lost, body string }{
		{"a write without an answer", "/api/v1/keys", "fresh", `{"name":"fresh"}`},
		{"a rotation without an answer", "/api/v1/keys/taken/rotate", "taken", `{}`},
	} {
		s.mu.Lock()
		s.lose = tt.lost
		s.mu.Unlock()
		if a := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body); a.Status != http.StatusBadGateway {
			t.Errorf("%s: %d %s", tt.name, a.Status, a.Body)
		}
		s.want(t, tt.name, kept)
	}
	if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/secret_sources", strings.ReplaceAll(source, "read_and_write", "read_only")); a.Status != http.StatusBadRequest || !strings.Contains(string(a.Body), "store_virtual_keys") {
		t.Errorf("a source that is only read keeps keys: %d %s", a.Status, a.Body)
	}
}

// An auth plugin is asked before the store has the secret of a key, and the place in the store has the name that it gives.
func TestShelf_keyHook(t *testing.T) {
	t.Parallel()
	s := &store{kept: map[string]string{}}
	var verdict auth.KeyVerdict
	var away error
	h := adminapitest.New(t, func(c *adminapi.Config) {
		c.KeyStore = s
		c.KeyHook = func(context.Context, *resource.Auth, *auth.KeyDraft) (auth.KeyVerdict, error) { return verdict, away }
	})
	h.Must("POST", "/api/v1/secret_sources", source)
	h.Must("POST", "/api/v1/auths", `{"name":"policy","plugin":"policy"}`)
	verdict.Fill = []byte(`{"name":"named-by-policy"}`)
	kept := map[string]string{"vault://keys/named-by-policy": h.Must("POST", "/api/v1/keys", `{"name":"mine"}`)["secret"].(string)}
	s.want(t, "a key that the plugin names", kept)
	made := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/bulk", `[{"name":"one"}]`)
	if made.Status != http.StatusConflict {
		t.Errorf("the plugin gives a name that is taken: %d %s", made.Status, made.Body)
	}
	s.want(t, "a name that is taken", kept)

	for _, tt := range []struct {
		name    string
		verdict auth.KeyVerdict
		away    error
		status  int
	}{
		{"refused", auth.KeyVerdict{Refused: "not on Sundays"}, nil, http.StatusForbidden},
		{"filled with nonsense", auth.KeyVerdict{Fill: []byte(`{"models":7}`)}, nil, http.StatusServiceUnavailable},
		{"not asked", auth.KeyVerdict{}, auth.ErrNotRunning, http.StatusServiceUnavailable},
	} {
		verdict, away = tt.verdict, tt.away
		at := h.State.Applied()
		for path, body := range map[string]string{
			"/api/v1/keys/named-by-policy/rotate": `{}`, "/key/named-by-policy/regenerate": `{}`, "/api/v1/keys": `{"name":"new"}`,
			"/key/generate": `{"key_alias":"new"}`, "/api/v1/keys/bulk": `[{"name":"new"}]`, "/user/new": `{"user_id":"new","key_alias":"new"}`,
		} {
			if a := h.Call(adminapitest.MasterKey, "POST", path, body); a.Status != tt.status {
				t.Errorf("%s, %s: %d %s, want %d", tt.name, path, a.Status, a.Body, tt.status)
			}
			s.want(t, tt.name+", "+path, kept)
		}
		if h.State.Applied() != at {
			t.Errorf("%s: something was committed", tt.name)
		}
	}
}

func TestKeyRef(t *testing.T) {
	t.Parallel()
	src := &resource.SecretSource{Name: "aws-sm", KeyPrefix: "llm/"}
	for name, want := range map[string]string{"a.b-c_1": "aws-sm://llm/a.b-c_1", "..": "aws-sm://llm/virtual-key-key-7", "": "aws-sm://llm/virtual-key-key-7", "ä": "aws-sm://llm/virtual-key-key-7"} {
		if got := src.KeyRef(&resource.Key{Meta: resource.Meta{ID: "key_7"}, Name: name}); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// A scheduled rotation brings the new secret to the store that has the old one, too, and does not end
// before it is there.
func TestShelf_scheduled(t *testing.T) {
	t.Parallel()
	h, _ := newHarness(t)
	h.Must("POST", "/api/v1/secret_sources", source)
	made := h.Must("POST", "/api/v1/keys", `{"name":"k","rotation":{"every":"2h","grace":"1h","deliver":"pickup"}}`)
	id, old := made["id"].(string), made["secret"].(string)
	h.Advance(3 * time.Hour)
	h.Rotation.Pass(t.Context(), func() bool { return true })
	h.Unsent = errors.New("the store is sealed")
	if a := h.Call(old, "POST", "/api/v1/keys/k/pickup", ""); a.Status < 400 {
		t.Errorf("picked up while the store is sealed: %s", a.Body)
	}
	h.Unsent = nil
	k, err := h.Client(old).PickUpKey(t.Context(), "k")
	if err != nil || k.Secret == "" || h.Kept[id] != k.Secret {
		t.Errorf("got %v; the store has another secret: %v", err, h.Kept[id] != k.Secret)
	}
}
