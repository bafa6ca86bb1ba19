package rotation_test

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

var (
	linkIn   = regexp.MustCompile(`https://llm\.example\.com(/key-rotation/\S+\?t=\S+)`)
	secretIn = regexp.MustCompile(`<code>(sk-[^<]+)</code>`)
)

// mailed makes a harness with a key whose new secrets are mailed as links, and its secret.
func mailed(t *testing.T) (h *adminapitest.Harness, secret string) {
	t.Helper()
	h = adminapitest.New(t)
	destinations(h)
	made := h.Must("POST", "/api/v1/keys", `{"name":"k","rotation":{"every":"2h","grace":"1h","deliver":"email","email":"ada@corp.example"}}`)
	secret, _ = made["secret"].(string)
	h.Advance(2 * time.Hour)
	return h, secret
}

// destinations gives the cluster what rotations deliver through.
func destinations(h *adminapitest.Harness) {
	h.Must("PUT", "/api/v1/settings/public_url", `{"value":"https://llm.example.com"}`)
	h.Must("PUT", "/api/v1/settings/rotation_store", `{"value":{"vault":"https://vault.corp:8200"}}`)
	h.Must("PUT", "/api/v1/settings/alerts", `{"value":{"channels":[{"name":"mail","type":"email","host":"h:25","from":"a@b.c"}]}}`)
}

// link is the path of the link in the last letter.
func link(t *testing.T, h *adminapitest.Harness) string {
	t.Helper()
	l := h.Letters[len(h.Letters)-1]
	m := linkIn.FindStringSubmatch(l.Text)
	if m == nil || l.To != "ada@corp.example" || strings.Contains(l.Text, "sk-") {
		t.Fatalf("letter %+v", l)
	}
	return m[1]
}

func post(h *adminapitest.Harness, path string) adminapitest.Answer {
	u, err := url.Parse(path)
	if err != nil {
		h.T.Fatal(err)
	}
	return h.Call("", "POST", u.Path, url.Values{"t": {u.Query().Get("t")}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func TestRotation_email(t *testing.T) {
	t.Parallel()
	h, old := mailed(t)
	for range 3 {
		h.Rotation.Pass(t.Context(), leads)
		h.Advance(2 * time.Minute)
	}
	if len(h.Letters) != 1 {
		t.Fatalf("%d letters, want one", len(h.Letters))
	}
	path := link(t, h)
	for range 2 { // programs that look into mails open links, too
		got := h.Call("", "GET", path, "")
		if got.Status != http.StatusOK || strings.Contains(string(got.Body), "sk-") || got.Header.Get("Cache-Control") != "no-store" || !strings.Contains(got.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("GET: %d %s %v", got.Status, got.Body, got.Header)
		}
	}
	if !valid(h, old) {
		t.Error("the old secret ended before the new one was fetched")
	}
	got := post(h, path)
	m := secretIn.FindSubmatch(got.Body)
	if got.Status != http.StatusOK || m == nil || !valid(h, string(m[1])) || !valid(h, old) {
		t.Fatalf("POST: %d %s", got.Status, got.Body)
	}
	if again := post(h, path); again.Status != http.StatusNotFound || strings.Contains(string(again.Body), "sk-") {
		t.Errorf("a second time: %d %s", again.Status, again.Body)
	}
	h.Advance(time.Hour)
	if valid(h, old) || !valid(h, string(m[1])) {
		t.Error("after the grace the old secret is valid, or the new one is not")
	}
}

func TestRotation_emailExpires(t *testing.T) {
	t.Parallel()
	h, old := mailed(t)
	h.Rotation.Pass(t.Context(), leads)
	first := link(t, h)
	h.Advance(24 * time.Hour)
	if got := post(h, first); got.Status != http.StatusNotFound {
		t.Errorf("after its time: %d %s", got.Status, got.Body)
	}
	h.Rotation.Pass(t.Context(), leads)
	second := link(t, h)
	if len(h.Letters) != 2 || first == second || !valid(h, old) {
		t.Fatalf("%d letters", len(h.Letters))
	}
	for name, path := range map[string]string{
		"the first": first, "none": "/key-rotation/x", "no token": strings.SplitN(second, "?", 2)[0], "cut": second[:len(second)-1],
		"of another key": strings.Replace(second, "/key-rotation/", "/key-rotation/x", 1),
	} {
		if got := post(h, path); got.Status != http.StatusNotFound || strings.Contains(string(got.Body), "sk-") {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
	h.Must("POST", "/api/v1/keys/k/block", "")
	if got := post(h, second); got.Status != http.StatusNotFound {
		t.Errorf("of a blocked key: %d %s", got.Status, got.Body)
	}
	h.Must("POST", "/api/v1/keys/k/unblock", "")
	if got := post(h, second); got.Status != http.StatusOK {
		t.Errorf("the second: %d %s", got.Status, got.Body)
	}
}

// TestRotation_unsent lets the mail server and the store fail: the old secret stays, and it is tried again.
func TestRotation_unsent(t *testing.T) {
	t.Parallel()
	h, old := mailed(t)
	store := h.Must("POST", "/api/v1/keys", `{"name":"s","rotation":{"every":"2h","deliver":"secret_store"}}`)
	h.Advance(2 * time.Hour)
	h.Unsent = errors.New("no way out")
	h.Rotation.Pass(t.Context(), leads)
	was, _ := store["secret"].(string)
	if !valid(h, old) || !valid(h, was) || len(h.Rotation.Waiting()) != 2 {
		t.Fatalf("waiting: %+v", h.Rotation.Waiting())
	}
	h.Unsent = nil
	h.Advance(2 * time.Minute)
	h.Rotation.Pass(t.Context(), leads)
	id, _ := store["id"].(string)
	if len(h.Letters) != 1 || !valid(h, h.Kept[id]) || valid(h, was) {
		t.Errorf("letters %d, kept %v", len(h.Letters), len(h.Kept))
	}
}

func TestRotation_destinations(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for body, field := range map[string]string{
		`{"every":"2h","deliver":"email"}`:                                   "rotation.email",
		`{"every":"2h","deliver":"email","email":"ada"}`:                     "rotation.email",
		`{"every":"2h","deliver":"email","email":"a@b.c","url":"https://x"}`: "rotation.url",
		`{"every":"2h","deliver":"secret_store","email":"a@b.c"}`:            "rotation.email",
		`{"every":"2h","deliver":"pigeon"}`:                                  "rotation.deliver",
	} {
		if got := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys", `{"rotation":`+body+`}`); got.Status != http.StatusBadRequest || !strings.Contains(string(got.Body), field) {
			t.Errorf("%s: %d %s", body, got.Status, got.Body)
		}
	}
	destinations(h)
	made := h.Must("POST", "/key/generate", `{"auto_rotate":true,"rotation_interval":"2h","rotation_delivery":"email","rotation_email":"a@b.c"}`)
	if made["rotation_delivery"] != "email" {
		t.Errorf("LiteLLM's path: %v", made)
	}
	for _, bad := range []string{`{"vault":"http://vault.corp:8200"}`, `{"vault":"https://v","prefix":"../x"}`, `{"vault":"https://v","moutn":"x"}`} {
		if got := h.Call(adminapitest.MasterKey, "PUT", "/api/v1/settings/rotation_store", `{"value":`+bad+`}`); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, got.Status, got.Body)
		}
	}
	h.Must("PUT", "/api/v1/settings/rotation_store", `{"value":{"vault":"https://vault.corp:8200"}}`)
}
