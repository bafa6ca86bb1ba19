package azure_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/azure"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const accountKey = "c2VjcmV0LWtleS1vZi10aGUtYWNjb3VudA=="

// signed says whether the request has the signature of the account; Microsoft's emulator says so too, in
// test/counterparts.
func signed(r *sinktest.Request) bool {
	text := fmt.Sprintf("PUT\n\n\n%d\n\napplication/x-ndjson\n\n\n\n\n\n\nx-ms-blob-type:BlockBlob\nx-ms-date:%s\nx-ms-version:%s\n/acct%s",
		len(r.Raw), r.Header.Get("X-Ms-Date"), r.Header.Get("X-Ms-Version"), r.Path)
	key, err := base64.StdEncoding.DecodeString(accountKey)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return r.Header.Get("Authorization") == "SharedKey acct:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	store := func(r *sinktest.Request) (int, string) {
		if r.Method != http.MethodPut || r.Header.Get("X-Ms-Blob-Type") != "BlockBlob" || !signed(r) {
			return http.StatusForbidden, "<Code>AuthenticationFailed</Code>"
		}
		return http.StatusCreated, ""
	}
	config := map[string]any{"account": "acct", "container": "logs", "endpoint": s.URL, "account_key": accountKey, "prefix": "a b"}
	sinktest.Behaves(t, func() sdk.Callback { return &azure.Blobs{} }, s, sinktest.Config{Value: config, Secrets: []string{accountKey, "secret-key"}}, store)
	c := &azure.Blobs{}
	sinktest.Configure(t, c, config)
	s.Answer(store)
	sinktest.Deliver(t, c, sinktest.Records(2))
	if got := s.Take(); len(got) != 1 || got[0].Path != "/logs/a%20b/2026/03/01/12/node_a-00000000000000000001-00000000000000000002.jsonl" || len(got[0].Lines()) != 2 {
		t.Errorf("got %d blobs, %s", len(got), got[0].Path)
	}
	if n, err := c.DeliverAudit(t.Context(), []sdk.AuditEntry{{Number: 1}}); n != 1 || err != nil {
		t.Errorf("audit: %d, %v", n, err)
	}
}

// What is wrong with the account is not wrong with a record.
func TestBlobs_keeps(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	c := &azure.Blobs{}
	sinktest.Configure(t, c, map[string]any{"account": "acct", "container": "logs", "endpoint": s.URL, "account_key": accountKey})
	const xmlError = "\ufeff" + `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>m</Message></Error>`
	sinktest.Keeps(t, c, s, http.StatusBadRequest, fmt.Sprintf(xmlError, "AccountRequiresHttps"))
	sinktest.Keeps(t, c, s, http.StatusBadRequest, fmt.Sprintf(xmlError, "InvalidAuthenticationInfo"))
	sinktest.Refuses(t, c, s, http.StatusBadRequest, fmt.Sprintf(xmlError, "InvalidResourceName"))
}

func TestBlobs_otherProofs(t *testing.T) {
	t.Parallel()
	entra := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/tenant/oauth2/v2.0/token" || r.FormValue("scope") != "https://storage.azure.com/.default" || r.FormValue("client_secret") != "shh" {
			http.Error(w, "invalid_client", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"entra","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(entra.Close)
	s := sinktest.NewServer(t, "")
	s.Answer(func(r *sinktest.Request) (int, string) {
		if r.Header.Get("Authorization") == "Bearer entra" || strings.HasSuffix(r.Path, "?sv=2021-12-02&sig=abc%3D") && r.Header.Get("Authorization") == "" {
			return http.StatusCreated, ""
		}
		return http.StatusForbidden, "no"
	})
	base := map[string]any{"account": "acct", "container": "logs", "endpoint": s.URL}
	for name, more := range map[string]map[string]any{
		"application":             {"tenant_id": "tenant", "client_id": "app", "client_secret": "shh", "authority_host": entra.URL},
		"shared access signature": {"sas": "?sv=2021-12-02&sig=abc%3D"},
	} {
		t.Run(name, func(t *testing.T) {
			config := maps.Clone(base)
			maps.Copy(config, more)
			c := &azure.Blobs{}
			sinktest.Configure(t, c, config)
			sinktest.Deliver(t, c, sinktest.Records(1))
		})
	}
	for _, bad := range []map[string]any{
		{},
		{"account": "a", "container": "b"},
		{"account": "a", "container": "b", "account_key": "x", "sas": "y"},
		{"account": "a", "container": "b/c", "sas": "y"},
		{"account": "a", "container": "b", "account_key": "no base64"},
		{"account": "a", "container": "b", "client_secret": "s"},
		{"account": "a", "container": "b", "sas": "y", "endpoint": "x"},
	} {
		if sinktest.Try(&azure.Blobs{}, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
