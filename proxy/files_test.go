package proxy_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

const (
	mateKey    = "sk-mate-0123456789"    // of the good key's team
	strangeKey = "sk-strange-0123456789" // of another
)

// makers is a gateway over two deployments that make things with ids, and tells what was asked of them.
type makers struct {
	*wire
	fake  *journal
	mu    sync.Mutex
	asked []string
}

// newMakers makes one; change may change what it is made of.
func newMakers(t *testing.T, change func(*rig)) *makers {
	m := &makers{}
	up := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		m.mu.Lock()
		m.asked = append(m.asked, q.Method+" "+q.URL.RequestURI()+" "+string(body))
		m.mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		noun, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/v1/"), "/")
		_, _ = io.WriteString(rw, `{"id":"vs_made12345`+noun+`","object":"x"}`)
	}))
	t.Cleanup(up.Close)
	r := newRig(t)
	r.tables.Deployments = r.tables.Deployments[:2]
	for i, d := range r.tables.Deployments {
		d.APIBase, d.Provider, d.Options = up.URL+"/v1", []string{"openai", "groq"}[i], map[string]string{"use_in_pass_through": "true"}
	}
	for secret, team := range map[string]string{goodKey: "team_1", mateKey: "team_1", strangeKey: "team_2"} {
		k := &resource.Key{Meta: resource.Meta{ID: "key_" + secret[3:7]}, Hash: resource.HashSecret(secret), TeamID: team}
		r.keys[k.Hash] = k
	}
	for _, id := range []string{"team_1", "team_2"} {
		r.tables.Teams = append(r.tables.Teams, &resource.Team{Meta: resource.Meta{ID: id}, Name: id})
	}
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	r.cfg.Artifacts, r.cfg.Upstream, r.cfg.Router = filestest.New(), proxy.FromClient(client), r.router.Router
	if change != nil {
		change(r)
	}
	front := httptest.NewServer(r.handler())
	t.Cleanup(front.Close)
	m.wire, m.fake = &wire{r, front.URL, nil}, r.journal
	return m
}

func as(secret string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
}

func (m *makers) last() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asked) == 0 {
		return ""
	}
	return m.asked[len(m.asked)-1]
}

// What a provider has made is its maker's, and its team's.
func TestPassThrough_owners(t *testing.T) {
	t.Parallel()
	m := newMakers(t, nil)
	call := func(key, method, path, body string) (int, string) {
		t.Helper()
		res, got := m.send(t.Context(), method, path, body, as(key)) //nolint:bodyclose // send closes it
		return res.StatusCode, got
	}
	if status, got := call(goodKey, "POST", "/v1/vector_stores", `{"name":"x"}`); status != 200 {
		t.Fatalf("got %d %s", status, got)
	}
	id := "vs_made12345vector_stores"
	for _, tt := range []struct {
		name, key, method, path, body string
		status                        int
	}{
		{"its own", goodKey, "GET", "/v1/vector_stores/" + id, "", 200},
		{"a mate's", mateKey, "GET", "/v1/vector_stores/" + id, "", 200},
		{"at the provider's own path", mateKey, "GET", "/openai/v1/vector_stores/" + id, "", 200},
		{"a stranger's", strangeKey, "GET", "/v1/vector_stores/" + id, "", 404},
		{"a stranger's, escaped", strangeKey, "GET", "/v1/vector_stores/%76s_made12345vector_stores", "", 404},
		{"below it", strangeKey, "POST", "/v1/vector_stores/" + id + "/search", `{"query":"x"}`, 404},
		{"in a body", strangeKey, "POST", "/v1/assistants", `{"name":"x","vector_store_ids":["` + id + `"]}`, 404},
		{"as a text", strangeKey, "POST", "/v1/fine_tuning/jobs", `{"model":"demo","training_file":"` + id + `"}`, 404},
		{"deep in a body", strangeKey, "POST", "/v1/evals", `{"data_source":{"source":{"id":"` + id + `"}}}`, 404},
		{"where a model is asked", strangeKey, "POST", "/v1/responses", `{"model":"demo","input":"x","tools":[{"type":"file_search","vector_store_ids":["` + id + `"]}]}`, 404},
		{"its own, where a model is asked", goodKey, "POST", "/v1/responses", `{"model":"demo","input":"x","tools":[{"type":"file_search","vector_store_ids":["` + id + `"]}]}`, 200},
		{"where a model is asked in the provider's words", strangeKey, "POST", "/openai_passthrough/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"` + id + `"}}]}]}`, 404},
		{"what nobody knows", strangeKey, "GET", "/v1/vector_stores/vs_unknown12345", "", 200},
		{"deleted by its owner", mateKey, "DELETE", "/v1/vector_stores/" + id, "", 200},
		{"and then nobody's", strangeKey, "GET", "/v1/vector_stores/" + id, "", 200},
	} {
		before := len(m.asked)
		status, got := call(tt.key, tt.method, tt.path, tt.body)
		if status != tt.status || (len(m.asked) > before) != (tt.status == 200) {
			t.Errorf("%s: got %d %s (asked %d times)", tt.name, status, got, len(m.asked)-before)
		}
	}
}

// A thing goes back to who keeps it, without being told.
func TestPassThrough_ownerKeeps(t *testing.T) {
	t.Parallel()
	m := newMakers(t, nil)
	keeper := func(id, deployment string) {
		t.Helper()
		_, err := m.cfg.Artifacts.Put(t.Context(), &resource.Artifact{
			ID: id, Kind: resource.ArtifactProvider, DeploymentID: deployment, Owners: resource.Owners{KeyID: "key_good"}, ExpiresAt: 1 << 62,
		}, 0)
		if err != nil {
			t.Fatal(err)
		}
	}
	keeper("file-groq12345", "dep_2")
	keeper("file-openai12345", "dep_1")
	keeper("file-gone12345", "dep_none")
	for _, tt := range []struct {
		name, method, path, body, deployment string
		status                               int
	}{
		{"a file of the second", "GET", "/v1/files/file-groq12345", "", "dep_2", 200},
		{"its content", "GET", "/v1/files/file-groq12345/content", "", "dep_2", 200},
		{"a batch of it", "POST", "/v1/batches", `{"input_file_id":"file-groq12345","endpoint":"/v1/embeddings"}`, "dep_2", 200},
		{"a file of the first", "GET", "/files/file-openai12345", "", "dep_1", 200},
		{"of two", "POST", "/v1/batches", `{"input_file_id":"file-groq12345","other":"file-openai12345"}`, "", 400},
		{"of who is gone", "GET", "/v1/files/file-gone12345", "", "", 404},
		{"by the provider's name", "GET", "/v1/files?custom_llm_provider=groq&limit=2", "", "dep_2", 200},
		{"by the provider's name in the body", "POST", "/v1/batches", `{"custom_llm_provider":"groq","input_file_id":"x"}`, "dep_2", 200},
		{"of a provider that is not there", "GET", "/v1/files?custom_llm_provider=mistral", "", "", 404},
	} {
		res, got := m.send(t.Context(), tt.method, tt.path, tt.body) //nolint:bodyclose // send closes it
		if res.StatusCode != tt.status || res.Header.Get("X-Conclave-Model-Id") != tt.deployment {
			t.Errorf("%s: got %d of %q, %s", tt.name, res.StatusCode, res.Header.Get("X-Conclave-Model-Id"), got)
		}
	}
	if last := m.last(); last != `POST /v1/batches {"input_file_id":"x"}` {
		t.Errorf("the provider was asked %s", last)
	}
}

func TestPassThrough_defaultProvider(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		provider, path string
		status         int
	}{
		"the first": {"", "/v1/evals", 200}, "openai": {"openai", "/v1/evals", 200}, "one that is not open": {"azure", "/v1/evals", 404},
		"a path of its own": {"azure", "/openai/v1/evals", 200},
	} {
		m := newMakers(t, func(r *rig) { settingOf("default_provider", `"`+tt.provider+`"`)(r, nil) })
		res, got := m.send(t.Context(), "GET", tt.path, "") //nolint:bodyclose // send closes it
		if res.StatusCode != tt.status || tt.status == 404 && !strings.Contains(got, "endpoint_not_served") {
			t.Errorf("%s: got %d %s", name, res.StatusCode, got)
		}
	}
}

func TestPassThrough_costPerRequest(t *testing.T) {
	t.Parallel()
	m := newMakers(t, func(r *rig) { r.tables.Deployments[0].Options[resource.OptionCostPerRequest] = "0.25" })
	for path, body := range map[string]string{"/v1/vector_stores": `{"name":"x"}`, "/v1/videos": `{"model":"demo","prompt":"sea"}`} {
		if res, got := m.send(t.Context(), "POST", path, body); res.StatusCode != 200 { //nolint:bodyclose // send closes it
			t.Fatalf("got %d %s", res.StatusCode, got)
		}
	}
	for _, r := range m.fake.settled {
		if r.Cost != resource.Dollar/4 || r.Flags&(ledger.Overrun|ledger.Unpriced) != 0 {
			t.Errorf("got %s, flags %v", r.Cost, r.Flags)
		}
	}
}

// uploadOf is a form with the fields, in pairs, and a file.
func uploadOf(t *testing.T, pairs ...string) (body, kind string) {
	t.Helper()
	return uploadWith(t, "{}\n", pairs...)
}

// uploadWith is uploadOf with the file's content.
func uploadWith(t *testing.T, content string, pairs ...string) (body, kind string) {
	t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		if err := form.WriteField(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile("file", "x.jsonl")
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), form.FormDataContentType()
}

func TestFiles_relayed(t *testing.T) {
	t.Parallel()
	m := newMakers(t, nil)
	for name, pairs := range map[string][]string{
		"by the provider": {"purpose", "fine-tune", "custom_llm_provider", "openai"},
		"by the model":    {"purpose", "fine-tune", "target_model_names", "demo"},
	} {
		body, kind := uploadOf(t, pairs...)
		res, got := m.send(t.Context(), "POST", "/v1/files", body, header("Content-Type", kind)) //nolint:bodyclose // send closes it
		sent := m.last()
		if res.StatusCode != 200 || !strings.Contains(sent, "fine-tune") || !strings.Contains(sent, "{}\n") ||
			strings.Contains(sent, "custom_llm_provider") || strings.Contains(sent, "target_model_names") || strings.Contains(sent, `name="model"`) {
			t.Errorf("%s: got %d %s, sent %s", name, res.StatusCode, got, sent)
		}
	}
	if a, _, err := m.cfg.Artifacts.Get(t.Context(), "vs_made12345files"); err != nil || a.DeploymentID == "" || a.Owners.TeamID != "team_1" {
		t.Errorf("the owner is %+v, %v", a, err)
	}
	body, kind := uploadOf(t, "purpose", "batch", "target_model_names", "demo, other")
	if res, got := m.send(t.Context(), "POST", "/v1/files", body, header("Content-Type", kind)); res.StatusCode != 400 || !strings.Contains(got, "target_model_names") { //nolint:bodyclose // send closes it
		t.Errorf("two models: got %d %s", res.StatusCode, got)
	}
}

// A team's expiry is forced on what its keys make, here and at a provider, whatever they say.
func TestFiles_expiry(t *testing.T) {
	t.Parallel()
	m := newMakers(t, func(r *rig) {
		r.tables.Teams[0].FileExpiry = &resource.Expiry{Anchor: "created_at", Seconds: 7200}
		r.tables.Teams[0].BatchOutputExpiry = &resource.Expiry{Anchor: "created_at", Seconds: 3600}
	})
	forced := `name="expires_after[anchor]"` + "\r\n\r\ncreated_at\r\n"
	send := func(key, path string, pairs ...string) string {
		t.Helper()
		body, kind := uploadOf(t, pairs...)
		res, got := m.send(t.Context(), "POST", path, body, header("Content-Type", kind), as(key)) //nolint:bodyclose // send closes it
		if res.StatusCode != 200 {
			t.Fatalf("%s: got %d %s", path, res.StatusCode, got)
		}
		return got
	}
	for path, to := range map[string][]string{"/v1/files": {"custom_llm_provider", "openai"}, "/openai/v1/files": nil} {
		send(goodKey, path, append(to, "purpose", "user_data", "expires_after[anchor]", "created_at", "expires_after[seconds]", "2592000")...)
		if sent := m.last(); strings.Count(sent, forced) != 1 || !strings.Contains(sent, `name="expires_after[seconds]"`+"\r\n\r\n7200\r\n") || strings.Contains(sent, "2592000") || !strings.Contains(sent, "{}\n") {
			t.Errorf("%s: sent %s", path, sent)
		}
	}
	send(strangeKey, "/v1/files", "purpose", "user_data", "custom_llm_provider", "openai")
	if sent := m.last(); strings.Contains(sent, "expires_after") {
		t.Errorf("another team's key: sent %s", sent)
	}
	for body, want := range map[string]string{
		`{"input_file_id":"file-of-theirs","endpoint":"/v1/embeddings","completion_window":"24h","model":"demo","output_expires_after":{"anchor":"created_at","seconds":9999}}`: `"output_expires_after":{"anchor":"created_at","seconds":3600}}`,
		`{"input_file_id":"file-of-theirs","endpoint":"/v1/embeddings","completion_window":"24h","custom_llm_provider":"openai"}`:                                               `"output_expires_after":{"anchor":"created_at","seconds":3600}}`,
	} {
		res, got := m.send(t.Context(), "POST", "/v1/batches", body) //nolint:bodyclose // send closes it
		if sent := m.last(); res.StatusCode != 200 || !strings.HasSuffix(sent, want) || strings.Contains(sent, "9999") {
			t.Errorf("a batch: got %d %s, sent %s", res.StatusCode, got, sent)
		}
	}
	var f struct {
		ID        string
		CreatedAt int64 `json:"created_at"`
		ExpiresAt int64 `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(send(goodKey, "/v1/files", "purpose", "batch")), &f); err != nil || f.ExpiresAt != f.CreatedAt+7200 {
		t.Errorf("a file that stays here: got %+v, %v", f, err)
	}
	res, got := m.send(t.Context(), "POST", "/v1/batches", `{"input_file_id":"`+f.ID+`","endpoint":"/v1/embeddings","completion_window":"24h"}`) //nolint:bodyclose // send closes it
	var b struct{ ID string }
	if err := json.Unmarshal([]byte(got), &b); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %d %s", res.StatusCode, got)
	}
	if a, _, err := m.cfg.Artifacts.Get(t.Context(), b.ID); err != nil || a.Batch.OutputSeconds != 3600 {
		t.Errorf("a batch that runs here: got %+v, %v", a, err)
	}
}

// What stays here costs nothing, leaves no record, and is the owner's alone.
func TestFiles_here(t *testing.T) {
	t.Parallel()
	m := newMakers(t, nil)
	body, kind := uploadOf(t, "purpose", "batch")
	_, got := m.send(t.Context(), "POST", "/v1/files", body, header("Content-Type", kind)) //nolint:bodyclose // send closes it
	var f struct{ ID string }
	if err := json.Unmarshal([]byte(got), &f); err != nil || f.ID == "" {
		t.Fatalf("got %s: %v", got, err)
	}
	for key, want := range map[string]int{goodKey: 200, mateKey: 200, strangeKey: 404, masterKey: 404} {
		if res, got := m.send(t.Context(), "GET", "/v1/files/"+f.ID, "", as(key)); res.StatusCode != want { //nolint:bodyclose // send closes it
			t.Errorf("%s: got %d %s", key, res.StatusCode, got)
		}
	}
	order := `{"input_file_id":"` + f.ID + `","endpoint":"/v1/embeddings","completion_window":"24h"}`
	if res, got := m.send(t.Context(), "POST", "/v1/batches", order, as(strangeKey)); res.StatusCode != 404 { //nolint:bodyclose // send closes it
		t.Errorf("a stranger's batch: got %d %s", res.StatusCode, got)
	}
	if res, got := m.send(t.Context(), "POST", "/v1/batches", order); res.StatusCode != 200 || !strings.Contains(got, `"status":"validating"`) { //nolint:bodyclose // send closes it
		t.Errorf("got %d %s", res.StatusCode, got)
	}
	if len(m.asked) > 0 {
		t.Errorf("asked %v", m.asked)
	}
	for _, r := range m.fake.settled { // what was refused
		if r.Status != 404 {
			t.Errorf("recorded %+v", r)
		}
	}
	old := m.keys[resource.HashSecret(goodKey)]
	old.ExpiresAt = resource.At(time.Now().Add(-time.Second))
	if res, _ := m.send(t.Context(), "GET", "/v1/files/"+f.ID, ""); res.StatusCode != 401 { //nolint:bodyclose // send closes it
		t.Errorf("an expired key: got %d", res.StatusCode)
	}
}

// A file of the cluster's that a chat names is sent along, to a provider of any dialect.
func TestFiles_attached(t *testing.T) {
	t.Parallel()
	m := newMakers(t, func(r *rig) {
		r.tables.Deployments[0].Provider = "anthropic"
		r.tables.Deployments[0].APIBase = strings.TrimSuffix(r.tables.Deployments[0].APIBase, "/v1")
		r.tables.Deployments = r.tables.Deployments[:1]
	})
	shelf := files.New(m.cfg.Artifacts, nil)
	f, err := shelf.Create(t.Context(), &files.Upload{Name: "a.pdf", Purpose: "user_data", Body: []byte("%PDF-"), Owners: resource.Owners{KeyID: "key_good", TeamID: "team_1"}, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	body := `{"model":"demo","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"` + f.ID + `"}}]}]}`
	_, _ = m.send(t.Context(), "POST", "/v1/chat/completions", body, as(goodKey)) //nolint:bodyclose // send closes it
	if got := m.last(); !strings.Contains(got, `"source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}`) {
		t.Errorf("the provider was asked %s", got)
	}
	if res, got := m.send(t.Context(), "POST", "/v1/chat/completions", body, as(strangeKey)); res.StatusCode != 404 { //nolint:bodyclose // send closes it
		t.Errorf("a stranger's: got %d %s", res.StatusCode, got)
	}
}
