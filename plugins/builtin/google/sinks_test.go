package google_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// serviceKey is the file of a service account that gets its tokens at the URL.
func serviceKey(t *testing.T, tokens string) string {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "logs@p.iam.gserviceaccount.com", "private_key_id": "k1", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tokenServer gives tokens to who proves a service account.
func tokenServer(t *testing.T) *sinktest.Server {
	s := sinktest.NewServer(t, "")
	s.Answer(func(r *sinktest.Request) (int, string) {
		form, err := url.ParseQuery(string(r.Body))
		if err != nil || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(form.Get("assertion"), ".") != 2 {
			return http.StatusBadRequest, `{"error":"invalid_grant"}`
		}
		return http.StatusOK, `{"access_token":"ya29.t0ken","token_type":"Bearer","expires_in":3600}`
	})
	return s
}

func named(r *sinktest.Request) bool { return r.Header.Get("Authorization") == "Bearer ya29.t0ken" }

func TestStorage(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	store := func(r *sinktest.Request) (int, string) {
		if r.Method != http.MethodPost || !strings.HasPrefix(r.Path, "/upload/storage/v1/b/logs/o?") || !named(r) {
			return http.StatusForbidden, "no"
		}
		return http.StatusOK, `{"kind":"storage#object"}`
	}
	key := serviceKey(t, tokenServer(t).URL)
	config := map[string]any{"endpoint": s.URL, "bucket": "logs", "prefix": "llm", "service_account": key}
	sinktest.Behaves(t, func() sdk.Callback { return &google.Storage{} }, s, sinktest.Config{Value: config, Secrets: []string{"ya29.t0ken", "PRIVATE KEY"}}, store)

	c := &google.Storage{}
	sinktest.Configure(t, c, config)
	s.Answer(store)
	sinktest.Deliver(t, c, sinktest.Records(3))
	got := s.Take()
	u, err := url.Parse(got[0].Path)
	if err != nil || len(got) != 1 || u.Query().Get("uploadType") != "media" ||
		u.Query().Get("name") != "llm/2026/03/01/12/node_a-00000000000000000001-00000000000000000003.jsonl" || len(got[0].Lines()) != 3 {
		t.Errorf("got %d objects, %s with %d lines", len(got), got[0].Path, len(got[0].Lines()))
	}
	if n, err := c.DeliverAudit(t.Context(), []sdk.AuditEntry{{Number: 3}, {Number: 4}}); n != 2 || err != nil {
		t.Fatalf("audit: %d, %v", n, err)
	}
	if got := s.Take()[0]; !strings.Contains(got.Path, url.QueryEscape("llm/audit/00000000000000000003-00000000000000000004.jsonl")) || len(got.Lines()) != 2 {
		t.Errorf("audit: %s", got.Path)
	}
}

func TestPubSub(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	type message struct {
		Data        []byte            `json:"data"`
		Attributes  map[string]string `json:"attributes"`
		OrderingKey string            `json:"orderingKey"`
	}
	publish := func(r *sinktest.Request) (int, string) {
		var in struct{ Messages []message }
		if r.Path != "/v1/projects/p/topics/logs:publish" || !named(r) || json.Unmarshal(r.Body, &in) != nil || len(in.Messages) == 0 || len(in.Messages) > 1000 {
			return http.StatusForbidden, "no"
		}
		return http.StatusOK, `{"messageIds":["1"]}`
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(serviceKey(t, tokenServer(t).URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{"endpoint": s.URL, "project": "p", "topic": "logs", "service_account_file": file}
	sinktest.Behaves(t, func() sdk.Callback { return &google.PubSub{} }, s, sinktest.Config{Value: config, Secrets: []string{"ya29.t0ken"}}, publish)

	c := &google.PubSub{}
	config["ordered"] = true
	delete(config, "service_account_file")
	var key map[string]any // an object, with more in it than is needed
	if err := json.Unmarshal([]byte(serviceKey(t, tokenServer(t).URL)), &key); err != nil {
		t.Fatal(err)
	}
	key["project_id"], key["universe_domain"] = "p", "googleapis.com"
	config["service_account"] = key
	sinktest.Configure(t, c, config)
	s.Answer(publish)
	sinktest.Deliver(t, c, sinktest.Records(2))
	var in struct{ Messages []message }
	got := s.Take()[0]
	got.JSON(t, &in)
	var p payload.Payload
	if m := in.Messages[1]; json.Unmarshal(m.Data, &p) != nil || p.ID != "req-2" || m.OrderingKey != "node_a" ||
		!maps.Equal(m.Attributes, map[string]string{"request_id": "req-2", "node": "node_a", "position": "2", "status": "failure"}) {
		t.Errorf("message %+v", m)
	}
}

// What is wrong with the project is not wrong with a record.
func TestKeeps(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	key := serviceKey(t, tokenServer(t).URL)
	store, topic := &google.Storage{}, &google.PubSub{}
	sinktest.Configure(t, store, map[string]any{"endpoint": s.URL, "bucket": "logs", "service_account": key})
	sinktest.Configure(t, topic, map[string]any{"endpoint": s.URL, "project": "p", "topic": "logs", "service_account": key})
	sinktest.Keeps(t, store, s, http.StatusBadRequest, `{"error":{"code":400,"message":"m","errors":[{"domain":"global","reason":"userProjectMissing"}]}}`)
	sinktest.Refuses(t, store, s, http.StatusBadRequest, `{"error":{"code":400,"message":"m","errors":[{"domain":"global","reason":"invalid"}]}}`)
	sinktest.Keeps(t, topic, s, http.StatusBadRequest, `{"error":{"code":400,"message":"m","status":"FAILED_PRECONDITION"}}`)
	sinktest.Refuses(t, topic, s, http.StatusBadRequest, `{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}`)
}

func TestAccount_refused(t *testing.T) {
	t.Parallel()
	refusing := sinktest.NewServer(t, "")
	refusing.Answer(func(*sinktest.Request) (int, string) { return http.StatusBadRequest, `{"error":"invalid_grant"}` })
	c := &google.Storage{}
	sinktest.Configure(t, c, map[string]any{"bucket": "b", "endpoint": refusing.URL, "service_account": serviceKey(t, refusing.URL)})
	if n, err := c.Deliver(t.Context(), sinktest.Records(1)); n != 0 || err == nil || !strings.Contains(err.Error(), "token of the service account") {
		t.Errorf("without a token: %d, %v", n, err)
	}
	for _, bad := range []map[string]any{
		{"bucket": "b"},
		{"bucket": "a/b", "endpoint": "http://x"},
		{"endpoint": "http://x"},
		{"bucket": "b", "endpoint": "x"},
		{"bucket": "b", "service_account": "{}"},
		{"bucket": "b", "service_account": 7},
		{"bucket": "b", "service_account": "{", "service_account_file": "x"},
		{"bucket": "b", "service_account_file": filepath.Join(t.TempDir(), "none")},
		{"bucket": "b", "service_account": serviceKey(t, "not a url")},
	} {
		if sinktest.Try(&google.Storage{}, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if sinktest.Try(&google.PubSub{}, map[string]any{"project": "p", "endpoint": "http://x"}) == nil {
		t.Error("no topic is taken")
	}
}
