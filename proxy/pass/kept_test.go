package pass_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/resource"
)

func TestFind(t *testing.T) {
	t.Parallel()
	store := filestest.New()
	for id, key := range map[string]string{"vs_mine123456": "k1", "file-mine123456": "k1", "vs_theirs123456": "k2", "v_1": "k2", "theirs": "k2"} {
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
		{"deep", "evals", `{"data_source":{"source":{"type":"file_id","id":"vs_theirs123456"}}}`, "", "not_found"},
		{"deep, in a list", "threads/runs", `{"thread":{"tool_resources":{"file_search":{"vector_store_ids":["vs_mine123456","vs_theirs123456"]}}}}`, "", "not_found"},
		{"an id of a few letters", "videos/v_1", "", "", "not_found"},
		{"before a verb", "v1beta/files/theirs:download", "", "", "not_found"},
		{"at the end of an address", "v1beta/x:y", `{"contents":[{"parts":[{"fileData":{"fileUri":"https://h/v1beta/files/theirs"}}]}]}`, "", "not_found"},
		{"an object's", "videos/edits", `{"video":{"id":"v_1"}}`, "", "not_found"},
		{"too many", "evals", `{"file_ids":[` + many(3000) + `]}`, "", "invalid_value"},
		{"a text of a message", "evals", `{"messages":[{"content":"vs_theirs123456"}]}`, "", ""},
		{"not JSON", "evals", `{"x":`, "", ""},
	} {
		kept, err := pass.Find(t.Context(), store, who, tt.rest, []byte(tt.body))
		e, _ := errors.AsType[*llm.Error](err)
		if (err != nil) != (tt.code != "") || e != nil && e.Code != tt.code || err == nil && kept.DeploymentID != tt.deployment {
			t.Errorf("%s: got %+v, %v", tt.name, kept, err)
		}
	}
}

// many are so many ids.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"a-%d",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// What asks a model names things in known places, at any depth, under any spelling of their names.
func TestFindIn(t *testing.T) {
	t.Parallel()
	store := filestest.New()
	a := &resource.Artifact{ID: "theirs1", Kind: resource.ArtifactProvider, DeploymentID: "d", Owners: resource.Owners{KeyID: "k2"}, ExpiresAt: 1}
	if _, err := store.Put(t.Context(), a, 0); err != nil {
		t.Fatal(err)
	}
	who := &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "k1"}}}
	for _, tt := range []struct {
		at   llm.Endpoint
		body string
		want bool // it is another's
	}{
		{llm.Responses, `{"conversation":"theirs1"}`, true},
		{llm.Responses, `{"conversation":{"id":"theirs1"}}`, true},
		{llm.Responses, `{"tools":[{"type":"file_search","vector_store_ids":["theirs1"]}]}`, true},
		{llm.Responses, `{"tools":[{"type":"file_search","vector_store\u005fids":["theirs1"]}]}`, true},
		{llm.Responses, `{"tools":[{"type":"file_search","vector_\u0073tore_ids":["theirs1"]}]}`, true},
		{llm.Responses, `{"tools":[{"type":"code_interpreter","container":"theirs1"}]}`, true},
		{llm.Responses, `{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["theirs1"]}}]}`, true},
		{llm.Responses, `{"previous_response_id":"theirs1"}`, true},
		{llm.Chat, `{"messages":[{"content":[{"type":"file","file":{"file_id":"theirs1"}}]}]}`, true},
		{llm.Messages, `{"container":{"id":"theirs1"}}`, true},
		{llm.Messages, `{"messages":[{"content":[{"source":{"type":"file","file_id":"theirs1"}}]}]}`, true},
		{llm.GenerateContent, `{"contents":[{"parts":[{"file_data":{"file_uri":"https://h/v1beta/files/theirs1"}}]}]}`, true},
		{llm.GenerateContent, `{"cachedContent":"cachedContents/theirs1"}`, true},
		{llm.Chat, `{"messages":[{"content":"theirs1"},{"tool_call_id":"theirs1"}]}`, false},
		{llm.Chat, `{"user":"theirs1","model":"theirs1"}`, false},
		{llm.Chat, `{"messages":[{"content":"caf\u00e9"}]}`, false},
	} {
		fields, err := llm.Peek([]byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := pass.Refers(tt.at, &fields, []byte(tt.body)); got != tt.want {
			t.Errorf("Refers(%s) = %t", tt.body, got)
		}
		_, err = pass.FindIn(t.Context(), store, who, []byte(tt.body))
		if e, _ := errors.AsType[*llm.Error](err); (e != nil) != tt.want || e != nil && e.Code != "not_found" {
			t.Errorf("%s: got %v", tt.body, err)
		}
	}
}

// A request that names nothing is looked through without allocating anything.
func TestRefers_Allocates(t *testing.T) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("hello there, ", 500) + `"}]}`)
	fields, err := llm.Peek(body)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { _ = pass.Refers(llm.Chat, &fields, body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMade(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"object":"x","id":"vs_1"}`: "vs_1", `{"data":{"id":"vs_1"}}`: "", `[{"id":"vs_1"}]`: "", `{"id":7}`: "", `{"id":"a/b"}`: "", `{"id":"vs_1"`: "", "": "",
		`{"name":"cachedContents/abc"}`: "abc", `{"file":{"name":"files/abc"}}`: "abc", `{"name":"a name"}`: "", `{"id":7,"name":"files/abc"}`: "",
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
		"chat/completions/chatcmpl-1": "chatcmpl-1", "v1/audio/voice_consents/c_1": "c_1",
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
