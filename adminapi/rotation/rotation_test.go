package rotation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/rotation"
	"github.com/conclave-llm/conclave/resource"
)

const signing = "a-signing-key-of-the-tests"

// hook is a webhook that keeps what it gets.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []rotation.Delivery
	bad    []string
}

func newHook(t *testing.T) *hook {
	h := &hook{status: http.StatusNoContent}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	var d rotation.Delivery
	if err != nil || json.Unmarshal(body, &d) != nil || r.Header.Get(rotation.HeaderDelivery) != d.ID {
		h.bad = append(h.bad, string(body))
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(rotation.HeaderSignature), "t="), ",")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || rotation.Sign(signing, seconds, body) != r.Header.Get(rotation.HeaderSignature) {
		h.bad = append(h.bad, "signature "+r.Header.Get(rotation.HeaderSignature))
	}
	h.got = append(h.got, d)
	w.WriteHeader(h.status)
}

func (h *hook) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func (h *hook) deliveries(t *testing.T) []rotation.Delivery {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.bad) > 0 {
		t.Fatalf("bad deliveries: %q", h.bad)
	}
	return append([]rotation.Delivery(nil), h.got...)
}

func leads() bool { return true }

func valid(h *adminapitest.Harness, secret string) bool {
	return h.Call(secret, "GET", "/key/info", "").Status == http.StatusOK
}

// TestRotation_webhook delivers by the schedule; a delivery that fails leaves the old secret,
// and the next try brings the same new one.
func TestRotation_webhook(t *testing.T) {
	t.Parallel()
	h, web := adminapitest.New(t), newHook(t)
	made := h.Must("POST", "/api/v1/keys", fmt.Sprintf(
		`{"name":"k","rotation":{"every":"24h","grace":"1h","deliver":"webhook","url":%q},"rotation_key":%q}`, web.URL, signing))
	old, ok := made["secret"].(string)
	if !ok || strings.Contains(fmt.Sprint(made), signing) {
		t.Fatalf("got %v", made)
	}
	web.answer(http.StatusInternalServerError)
	pass := func(after time.Duration) {
		h.Advance(after)
		h.Rotation.Pass(t.Context(), leads)
	}
	pass(23 * time.Hour)
	if got := web.deliveries(t); len(got) != 0 {
		t.Fatalf("rotated before it is due: %+v", got)
	}
	pass(2 * time.Hour)
	pass(time.Second) // within the pause after a failure
	first := web.deliveries(t)
	if len(first) != 1 || !valid(h, old) {
		t.Fatalf("got %d deliveries, old secret valid %v", len(first), valid(h, old))
	}
	shown := h.Call(adminapitest.MasterKey, "GET", "/api/v1/keys/k", "")
	if strings.Contains(string(shown.Body), first[0].Key) || strings.Contains(string(shown.Body), "box of") {
		t.Errorf("a secret is shown: %s", shown.Body)
	}
	if _, err := h.Client(adminapitest.MasterKey).Keys().One(t.Context(), "k"); err != nil {
		t.Errorf("a client cannot read a staged key: %v", err)
	}
	h.Must("PATCH", "/api/v1/keys/k", `{"limits":{"rpm":7}}`) // an edit in between
	web.answer(http.StatusOK)
	pass(2 * time.Hour) // later than any grace from the first try on
	all := web.deliveries(t)
	if len(all) != 2 || all[0].Key != all[1].Key || all[0].ID != all[1].ID {
		t.Fatalf("got %+v", all)
	}
	if !valid(h, old) || !valid(h, all[1].Key) {
		t.Error("a secret is not valid in the grace")
	}
	h.Advance(61 * time.Minute)
	if valid(h, old) || !valid(h, all[1].Key) {
		t.Error("after the grace: old secret valid, or the new one not")
	}
	pass(24 * time.Hour)
	if all = web.deliveries(t); len(all) != 3 || all[2].Key == all[1].Key {
		t.Errorf("second rotation: got %d deliveries", len(all))
	}
	if limits, ok := h.Must("GET", "/api/v1/keys/k", "")["limits"].(map[string]any); !ok || limits["rpm"] != 7.0 {
		t.Error("the rotation lost an edit")
	}
}

// TestRotation_pickUp hands the secret to its owner once, and nobody else.
func TestRotation_pickUp(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	made := h.Must("POST", "/api/v1/keys", `{"name":"k","rotation":{"every":"2h","grace":"1h","deliver":"pickup"}}`)
	other := h.Must("POST", "/api/v1/keys", `{"name":"other"}`)
	old, _ := made["secret"].(string)
	stranger, _ := other["secret"].(string)
	if got := h.Call(old, "POST", "/api/v1/keys/k/pickup", ""); got.Status != http.StatusNotFound {
		t.Errorf("nothing waits: got %d", got.Status)
	}
	h.Advance(3 * time.Hour)
	h.Rotation.Pass(t.Context(), leads)
	h.Advance(48 * time.Hour)
	h.Rotation.Pass(t.Context(), leads)
	if !valid(h, old) {
		t.Fatal("the old secret was retired before the new one was fetched")
	}
	if got := h.Call(stranger, "POST", "/api/v1/keys/k/pickup", ""); got.Status != http.StatusNotFound {
		t.Errorf("a stranger: got %d %s", got.Status, got.Body)
	}
	type fetched struct {
		secret string
		err    error
	}
	results := make(chan fetched, 2)
	for range 2 {
		go func() {
			k, err := h.Client(old).PickUpKey(t.Context(), "k")
			results <- fetched{k.Secret, err}
		}()
	}
	var secrets []string
	for range 2 {
		if r := <-results; r.err == nil {
			secrets = append(secrets, r.secret)
		} else if p, ok := errors.AsType[*client.Problem](r.err); !ok || p.Status != http.StatusNotFound {
			t.Errorf("got %v", r.err)
		}
	}
	if len(secrets) != 1 || !valid(h, secrets[0]) || !valid(h, old) {
		t.Fatalf("got %d secrets", len(secrets))
	}
	h.Advance(61 * time.Minute)
	if valid(h, old) || !valid(h, secrets[0]) {
		t.Error("after the grace: old secret valid, or the new one not")
	}
}

func TestRotation_refusals(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for _, tt := range []struct{ name, path, body, field string }{
		{"no destination", "/api/v1/keys", `{"rotation":{"every":"24h"}}`, "rotation.deliver"},
		{"secret store with a URL", "/api/v1/keys", `{"rotation":{"every":"24h","deliver":"secret_store","url":"https://x"}}`, "rotation.url"},
		{"e-mail", "/api/v1/keys", `{"rotation":{"every":"24h","deliver":"email"}}`, "rotation.email"},
		{"too often", "/api/v1/keys", `{"rotation":{"every":"59m","deliver":"pickup"}}`, "rotation.every"},
		{"grace as long", "/api/v1/keys", `{"rotation":{"every":"24h","grace":"1d","deliver":"pickup"}}`, "rotation.grace"},
		{"no signing key", "/api/v1/keys", `{"rotation":{"every":"24h","deliver":"webhook","url":"https://x.example"}}`, "rotation_key"},
		{"no address", "/api/v1/keys", `{"rotation":{"every":"24h","deliver":"webhook"},"rotation_key":"0123456789abcdef"}`, "rotation.url"},
		{"no TLS", "/api/v1/keys", `{"rotation":{"every":"24h","deliver":"webhook","url":"http://x.example"},"rotation_key":"0123456789abcdef"}`, "rotation.url"},
		{"staged by hand", "/api/v1/keys", `{"rotation":{"every":"24h","deliver":"pickup"},"rotation_key":"0123456789abcdef"}`, "rotation_key"},
		{"LiteLLM, no destination", "/key/generate", `{"auto_rotate":true,"rotation_interval":"30d"}`, "rotation_delivery"},
		{"LiteLLM, no interval", "/key/generate", `{"auto_rotate":true,"rotation_delivery":"pickup"}`, "rotation_interval"},
		{"LiteLLM, too often", "/key/generate", `{"auto_rotate":true,"rotation_interval":"30m","rotation_delivery":"pickup"}`, "rotation_interval"},
		{"LiteLLM, grace", "/key/generate", `{"auto_rotate":true,"rotation_interval":"1d","rotation_grace_period":"1d","rotation_delivery":"pickup"}`, "rotation_grace_period"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := h.Call(adminapitest.MasterKey, "POST", tt.path, tt.body)
			if got.Status != http.StatusBadRequest || !strings.Contains(string(got.Body), `"`+tt.field+`"`) {
				t.Errorf("got %d %s, want 400 of %s", got.Status, got.Body, tt.field)
			}
		})
	}
}

// TestRotation_ended forgets what waits when the schedule ends or a person rotates.
func TestRotation_ended(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method, path, body string }{
		{"no schedule any more", "PATCH", "/api/v1/keys/k", `{"rotation":null}`},
		{"a person rotates", "POST", "/api/v1/keys/k/rotate", `{"grace":"1h"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := adminapitest.New(t)
			made := h.Must("POST", "/key/generate", `{"key_alias":"k","auto_rotate":true,"rotation_interval":"2h","rotation_delivery":"pickup"}`)
			old, _ := made["key"].(string)
			h.Advance(3 * time.Hour)
			h.Rotation.Pass(t.Context(), leads)
			h.Must(tt.method, tt.path, tt.body)
			if got := h.Call(old, "POST", "/api/v1/keys/k/pickup", ""); got.Status != http.StatusNotFound {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if !valid(h, old) {
				t.Error("the secret is not valid")
			}
		})
	}
}

// TestRotate_idempotent answers the same secret to the same name, and only to that.
func TestRotate_idempotent(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/keys", `{"name":"k"}`)
	rotate := func(name string) string {
		t.Helper()
		s, _ := h.Must("POST", "/api/v1/keys/k/rotate", `{"grace":"1h"}`, "Idempotency-Key", name)["secret"].(string)
		return s
	}
	one := rotate("one")
	version := h.Must("GET", "/api/v1/keys/k", "")["version"]
	if again := rotate("one"); again != one || h.Must("GET", "/api/v1/keys/k", "")["version"] != version {
		t.Errorf("asked again: got %s, want %s and no new version", again, one)
	}
	theirs := h.Must("POST", "/key/k/regenerate", `{"grace_period":"1h"}`, "Idempotency-Key", "one")
	if theirs["key"] != one {
		t.Errorf("LiteLLM's path: got %v, want %s", theirs["key"], one)
	}
	if two := rotate("two"); two == one || !valid(h, two) || !valid(h, one) {
		t.Error("another name gives the same secret, or one is not valid")
	}
	if got := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/k/rotate", `{}`, "Idempotency-Key", "one"); got.Status != http.StatusConflict {
		t.Errorf("a name of long ago: got %d %s", got.Status, got.Body)
	}
	for _, name := range []func(secret string) string{
		func(secret string) string { return secret }, func(secret string) string { return resource.HashSecret(secret).String() },
	} { // the answer is lost, and the secret by which the client knows the key has ended
		h.Must("POST", "/api/v1/keys", `{"name":"lost"}`)
		secret, _ := h.Must("POST", "/api/v1/keys/lost/rotate", `{}`)["secret"].(string)
		first := h.Must("POST", "/key/regenerate", `{"key":"`+name(secret)+`"}`, "Idempotency-Key", "lost")
		again := h.Must("POST", "/key/"+name(secret)+"/regenerate", `{}`, "Idempotency-Key", "lost")
		if valid(h, secret) || again["key"] != first["key"] || again["key"] == nil {
			t.Errorf("asked again after a loss: got %v, want %v", again["key"], first["key"])
		}
		for _, other := range []string{"", "another"} {
			if got := h.Call(adminapitest.MasterKey, "POST", "/key/"+name(secret)+"/regenerate", `{}`, "Idempotency-Key", other); got.Status != http.StatusNotFound {
				t.Errorf("by the name %q: got %d %s", other, got.Status, got.Body)
			}
		}
		h.Must("DELETE", "/api/v1/keys/lost", "")
	}
	limited := h.Must("POST", "/key/regenerate", `{"key":"k","rpm_limit":9,"max_budget":5}`)
	if limited["rpm_limit"] != 9.0 || limited["max_budget"] != 5.0 {
		t.Errorf("new limits: got %v", limited)
	}
}
