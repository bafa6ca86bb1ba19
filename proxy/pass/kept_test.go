package pass_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/resource"
)

func TestFind(t *testing.T) {
	t.Parallel()
	store := filestest.New()
	for id, key := range map[string]string{"vs_mine123456": "k1", "file-mine123456": "k1", "vs_theirs123456": "k2"} {
		a := &resource.Artifact{ID: id, Kind: resource.ArtifactProvider, DeploymentID: "d_" + id[:2], Owners: resource.Owners{KeyID: key}, ExpiresAt: 1}
		if _, err := store.Put(t.Context(), a, 0); err != nil {
			t.Fatal(err)
		}
	}
	who := &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "k1"}}}
	for _, tt := range []struct{ name, rest, body, deployment, code string }{
		{"in the path", "v1/vector_stores/vs_mine123456/files", "", "d_vs", ""},
		{"escaped", "vector_stores/v%73_mine123456", "", "d_vs", ""},
		{"in the body", "fine_tuning/jobs", `{"model":"m","training_file":"file-mine123456"}`, "d_fi", ""},
		{"in a list", "assistants", `{"tools":[{"type":"x"}],"vector_store_ids":["vs_mine123456"]}`, "d_vs", ""},
		{"in both", "vector_stores/vs_mine123456/files", `{"file_id":"file-mine123456"}`, "", "deployment_mismatch"},
		{"another's", "vector_stores/vs_theirs123456", "", "", "not_found"},
		{"another's with its own", "vector_stores/vs_mine123456", `{"x":"vs_theirs123456"}`, "", "not_found"},
		{"nobody's", "vector_stores/vs_other123456", "", "", ""},
		{"a model's name", "evals", `{"model":"vs_theirs123456"}`, "", ""},
		{"text", "evals", `{"name":"a text about vs_theirs123456"}`, "", ""},
		{"not JSON", "evals", `{"x":`, "", ""},
	} {
		kept, err := pass.Find(t.Context(), store, who, tt.rest, []byte(tt.body))
		e, _ := errors.AsType[*llm.Error](err)
		if (err != nil) != (tt.code != "") || e != nil && e.Code != tt.code || err == nil && kept.DeploymentID != tt.deployment {
			t.Errorf("%s: got %+v, %v", tt.name, kept, err)
		}
	}
}

func TestMade(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"object":"x","id":"vs_1"}`: "vs_1", `{"data":{"id":"vs_1"}}`: "", `[{"id":"vs_1"}]`: "", `{"id":7}`: "", `{"id":"a/b"}`: "", `{"id":"vs_1"`: "", "": "",
	} {
		if got := pass.Made([]byte(body)); got != want {
			t.Errorf("Made(%s) = %q, want %q", body, got, want)
		}
	}
}

func TestDeleted(t *testing.T) {
	t.Parallel()
	for rest, want := range map[string]string{
		"files/file-1": "file-1", "v1/files/file%2D1": "file-1", "vector_stores/vs_1/files/file-1": "", "files": "", "fine_tuning/jobs/ft-1": "ft-1",
	} {
		if got, ok := pass.Deleted("DELETE", rest); got != want || ok != (want != "") {
			t.Errorf("Deleted(%s) = %q, %t, want %q", rest, got, ok, want)
		}
		if _, ok := pass.Deleted("GET", rest); ok {
			t.Errorf("GET deletes %s", rest)
		}
	}
}

func TestBelow(t *testing.T) {
	t.Parallel()
	more := map[string]string{"a": "1"}
	for _, tt := range []struct {
		at, rest, query, want string
		ok                    bool
	}{
		{"/s", "", "", "/s?a=1", true},
		{"", "", "a=2", "/?a=2", true},
		{"/s", "/x/", "b=%20", "/s/x/?a=1&b=+", true},
		{"/s", "/../x", "", "", false},
		{"/s", "/%2e%2e", "", "", false},
		{"/s", "/x//y", "", "", false},
		{"/s", `/x\y`, "", "", false},
		{"/s", "/x%zz", "", "", false},
		{"/s", "", "a=%zz", "", false},
	} {
		if got, ok := pass.Below(tt.at, tt.rest, tt.query, more); got != tt.want || ok != tt.ok {
			t.Errorf("Below(%q, %q, %q) = %q, %t, want %q, %t", tt.at, tt.rest, tt.query, got, ok, tt.want, tt.ok)
		}
	}
}

// Whatever an object is, what is left of it is one, and has none of the names.
func FuzzWithout(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[{"a":2}],"c":"}"}`, `{"\u0061":1}`, `{}`, `{"a":1`, `{"a":1,"a":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if _, err := llm.Peek([]byte(body)); err != nil {
			return // only such bodies get so far
		}
		out := pass.Without([]byte(body), []string{"a"})
		var left map[string]json.RawMessage
		if err := json.Unmarshal(out, &left); err != nil {
			t.Fatalf("%s is left of %s", out, body)
		}
		if _, ok := left["a"]; ok {
			t.Errorf("%s is left of %s", out, body)
		}
	})
}

// Reading what a request names never fails, whatever the request is.
func FuzzFind(f *testing.F) {
	f.Add("vector_stores/vs_a1b2c3d4", `{"x":["file-a1b2c3d4",1],"y":"z"}`, `{"id":"x"}`)
	store := filestest.New()
	f.Fuzz(func(t *testing.T, rest, body, answer string) {
		if kept, err := pass.Find(t.Context(), store, &resource.Principal{Master: true}, rest, []byte(body)); err != nil || kept.DeploymentID != "" {
			t.Errorf("got %+v, %v", kept, err)
		}
		if id := pass.Made([]byte(answer)); id != "" && !resource.ValidArtifactID(id) {
			t.Errorf("%q is no id", id)
		}
	})
}
