package prompt_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/prompt"
	"github.com/conclave-llm/conclave/resource"
)

func catalog() *resource.Catalog {
	return resource.NewCatalog(resource.Tables{Prompts: []*resource.Prompt{
		{
			Name: "support", Environments: map[string]int64{"production": 1, "development": 2, "v3": 2}, Last: 2,
			Versions: []resource.PromptVersion{
				{Version: 1, Messages: []resource.PromptMessage{{Role: "system", Content: "Be {{tone}} to {{who}}."}}, Defaults: json.RawMessage(`{"tone":"kind"}`)},
				{
					Version: 2, Model: "big", Parameters: json.RawMessage(`{"max_tokens":9,"temperature":0.5,"stop":"x"}`),
					Messages: []resource.PromptMessage{{Role: "system", Content: "S {{who}}"}, {Role: "user", Content: "U {{n}}"}, {Role: "assistant", Content: "A"}},
				},
			},
		},
		{Name: "newest", Last: 2, Versions: []resource.PromptVersion{
			{Version: 1, Messages: []resource.PromptMessage{{Role: "user", Content: "old"}}},
			{Version: 2, Messages: []resource.PromptMessage{{Role: "user", Content: "new"}}, Parameters: json.RawMessage(`{"tools":[]}`)},
		}},
	}})
}

func TestFill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		at         llm.Endpoint
		body, want string
		version    int64
	}{
		{
			"the environment production", llm.Chat, `{"model":"m","prompt_id":"support","prompt_variables":{"who":"a \"b\" {{tone}}"},"messages":[{"role":"user","content":"hi","x":1}],"z":[1, 2]}`,
			`{"model":"m","messages":[{"role":"system","content":"Be kind to a \"b\" {{tone}}."},{"role":"user","content":"hi","x":1}],"z":[1, 2]}`, 1,
		},
		{
			"a version, with model and parameters", llm.Chat, `{"model":"m","max_completion_tokens":100,"prompt_id":"support","prompt_version":2,"prompt_variables":{"who":"w","n":{"a": 1}},"messages":[]}`,
			`{"model":"big","messages":[{"role":"system","content":"S w"},{"role":"user","content":"U {\"a\":1}"},{"role":"assistant","content":"A"}],"max_tokens":9,"temperature":0.5,"stop":"x"}`, 2,
		},
		{
			"a version as a text, no messages", llm.Chat, `{"prompt_id":"support","prompt_version":"1","prompt_variables":{"who":"w","tone":3}}`,
			`{"messages":[{"role":"system","content":"Be 3 to w."}]}`, 1,
		},
		{
			"an environment", llm.Chat, `{"prompt_id":"support","prompt_environment":"development","prompt_variables":{"who":"w","n":1}}`,
			`{"messages":[{"role":"system","content":"S w"},{"role":"user","content":"U 1"},{"role":"assistant","content":"A"}],"max_tokens":9,"temperature":0.5,"stop":"x","model":"big"}`, 2,
		},
		{"a label", llm.Chat, `{"prompt_id":"newest","prompt_version":1}`, `{"messages":[{"role":"user","content":"old"}]}`, 1},
		{"the newest", llm.Chat, `{"prompt_id":"newest"}`, `{"messages":[{"role":"user","content":"new"}],"tools":[]}`, 2},
		{
			"responses", llm.Responses, `{"model":"m","prompt_id":"support","prompt_label":"development","prompt_variables":{"who":"w","n":1},"instructions":"own","input":"hi"}`, "", 0,
		},
		{
			"responses without what it has no form for", llm.Responses, `{"prompt_id":"support","prompt_variables":{"who":"w"},"instructions":"own","input":"hi"}`,
			`{"instructions":"Be kind to w.\n\nown","input":"hi"}`, 1,
		},
		{
			"messages", llm.Messages, `{"model":"m","max_tokens":50,"prompt_id":"support","prompt_version":2,"prompt_variables":{"who":"w","n":1},"system":[{"type":"text","text":"own"}],"messages":[{"role":"user","content":"hi"}]}`,
			`{"model":"big","system":[{"type":"text","text":"S w"},{"type":"text","text":"own"}],"messages":[{"role":"user","content":"U 1"},{"role":"assistant","content":"A"},{"role":"user","content":"hi"}],"max_tokens":9,"temperature":0.5,"stop_sequences":["x"]}`, 2,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, used, err := prompt.Fill(catalog(), new(resource.Principal), tt.at, []byte(tt.body))
			if tt.want == "" {
				if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != llm.CodeUnsayable || !strings.Contains(e.Message, "stop") {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			if err != nil || string(got) != tt.want || used.Version != tt.version {
				t.Errorf("got %s, %+v, %v\nwant %s", got, used, err, tt.want)
			}
		})
	}
	got, _, err := prompt.Fill(catalog(), new(resource.Principal), llm.Responses, []byte(`{"prompt_id":"newest","prompt_version":1,"input":"hi"}`))
	if want := `{"input":[{"role":"user","content":"old"},{"role":"user","content":"hi"}]}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestFill_Refused(t *testing.T) {
	t.Parallel()
	limited := &resource.Key{Access: resource.Access{Prompts: []string{"new*"}}}
	for _, tt := range []struct {
		name        string
		key         *resource.Key
		at          llm.Endpoint
		body        string
		code, param string
	}{
		{"a variable is missing", nil, llm.Chat, `{"prompt_id":"support","prompt_variables":{"tone":"x"}}`, prompt.CodeVariable, "prompt_variables.who"},
		{"a variable is null", nil, llm.Chat, `{"prompt_id":"support","prompt_variables":{"who":null}}`, prompt.CodeVariable, "prompt_variables.who"},
		{"no such prompt", nil, llm.Chat, `{"prompt_id":"nobody"}`, prompt.CodeNotFound, "prompt_id"},
		{"no such version", nil, llm.Chat, `{"prompt_id":"support","prompt_version":7}`, prompt.CodeNotFound, "prompt_version"},
		{"no such environment", nil, llm.Chat, `{"prompt_id":"support","prompt_environment":"x"}`, prompt.CodeNotFound, "prompt_environment"},
		{"a key of others", limited, llm.Chat, `{"prompt_id":"support"}`, prompt.CodeNotAllowed, "prompt_id"},
		{"a key of others, of one that is not there", limited, llm.Chat, `{"prompt_id":"nobody"}`, prompt.CodeNotAllowed, "prompt_id"},
		{"another endpoint", nil, llm.Completions, `{"prompt_id":"support"}`, "invalid_value", "prompt_id"},
		{"variables that are none", nil, llm.Chat, `{"prompt_id":"support","prompt_variables":[1]}`, "invalid_value", "prompt_variables"},
		{"a wrong version", nil, llm.Chat, `{"prompt_id":"support","prompt_version":-1}`, "invalid_value", "prompt_version"},
		{"a wrong label", nil, llm.Chat, `{"prompt_id":"support","prompt_label":1}`, "invalid_value", "prompt_label"},
		{"two environments", nil, llm.Chat, `{"prompt_id":"support","prompt_label":"a","prompt_environment":"b"}`, "invalid_value", "prompt_label"},
		{"messages that are none", nil, llm.Chat, `{"prompt_id":"newest","messages":{}}`, "invalid_value", "messages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := prompt.Fill(catalog(), &resource.Principal{Key: tt.key}, tt.at, []byte(tt.body))
			if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != tt.code || e.Param != tt.param {
				t.Errorf("got %v, want %s of %s", err, tt.code, tt.param)
			}
		})
	}
	if _, _, err := prompt.Fill(catalog(), &resource.Principal{Key: limited}, llm.Chat, []byte(`{"prompt_id":"newest"}`)); err != nil {
		t.Errorf("a prompt that the key may use: %v", err)
	}
	who := &resource.Principal{Key: limited, Team: &resource.Team{Meta: resource.Meta{ID: "team_1"}, Prompts: []string{"support"}}}
	_, _, err := prompt.Fill(catalog(), who, llm.Chat, []byte(`{"prompt_id":"newest"}`))
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Code != prompt.CodeNotAllowed || e.Scope != "team" || e.Entity != "team_1" {
		t.Errorf("a prompt that the team may not use: %v", err)
	}
}

func FuzzFill(f *testing.F) {
	f.Add([]byte(`{"prompt_id":"support","prompt_variables":{"who":"w"},"messages":[]}`), true)
	f.Add([]byte(`{"prompt_id":"newest","system":[],"input":"x"}`), false)
	cat := catalog()
	f.Fuzz(func(t *testing.T, body []byte, chat bool) {
		at := llm.Messages
		if chat {
			at = llm.Chat
		}
		if made, err := prompt.Try(body, func(text []byte) (*resource.PromptVersion, error) {
			return &resource.PromptVersion{Messages: []resource.PromptMessage{{Role: "user", Content: string(text)}}}, nil
		}); err == nil && json.Valid(body) && made != nil && !json.Valid(made) {
			t.Errorf("%s was tried as %s", body, made)
		}
		out, _, err := prompt.Fill(cat, new(resource.Principal), at, body)
		if err == nil && json.Valid(body) && !json.Valid(out) {
			t.Errorf("%s became %s", body, out)
		}
	})
}
