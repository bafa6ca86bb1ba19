package provider_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/provider"
)

func row(t testing.TB, name string) *provider.Provider {
	t.Helper()
	p, ok := provider.Lookup(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return p
}

func TestModelsURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, base, page, want string }{
		{"openai", "", "", "https://api.openai.com/v1/models"},
		{"groq", "http://h/v1/", "", "http://h/v1/models"},
		{"anthropic", "", "", "https://api.anthropic.com/v1/models?limit=1000"},
		{"anthropic", "", "a b", "https://api.anthropic.com/v1/models?limit=1000&after_id=a+b"},
		{"gemini", "", "n", "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000&pageToken=n"},
		{"cohere", "", "", "https://api.cohere.com/v1/models?page_size=1000"},
		{"cohere", "http://h/v2", "", "http://h/v1/models?page_size=1000"},
		{"ollama", "http://h:11434", "", "http://h:11434/api/tags"},
		{"typesafe", "", "", "https://api.typesafe.ai/v1/models"},
		{"laya", "http://h/v1", "", "http://h/v1/models"},
	} {
		if got, err := row(t, tt.name).ModelsURL(tt.base, nil, tt.page); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	for _, name := range []string{"bedrock", "vertex_ai", "azure"} {
		if got, err := row(t, name).ModelsURL("http://h", nil, ""); !errors.Is(err, provider.ErrNoList) {
			t.Errorf("%s: got %q, %v, want %v", name, got, err, provider.ErrNoList)
		}
	}
	if got, err := row(t, "lm_studio").ModelsURL("", nil, ""); err == nil {
		t.Errorf("without an address: got %q", got)
	}
}

func TestReadModels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider, body string
		want                 []string
		next                 string
		fails                bool
	}{
		{"openai", "openai", `{"object":"list","data":[{"id":"a"},{"id":""},{"id":"b"}]}`, []string{"a", "b"}, "", false},
		{"a bare list", "together_ai", `[{"id":"a/b"}]`, []string{"a/b"}, "", false},
		{"anthropic with more", "anthropic", `{"data":[{"id":"claude"}],"has_more":true,"last_id":"claude"}`, []string{"claude"}, "claude", false},
		{"anthropic's last", "anthropic", `{"data":[{"id":"claude"}],"has_more":false,"last_id":"claude"}`, []string{"claude"}, "", false},
		{"gemini", "gemini", `{"models":[{"name":"models/gemini-x"}],"nextPageToken":"t"}`, []string{"gemini-x"}, "t", false},
		{"cohere", "cohere", `{"models":[{"name":"command"}],"next_page_token":null}`, []string{"command"}, "", false},
		{"ollama", "ollama", `{"models":[{"name":"llama3:8b","size":1}]}`, []string{"llama3:8b"}, "", false},
		{"typesafe", "typesafe", `{"models":[{"name":"jev-latest","description":"d","release_date":"2026-09-15"}]}`, []string{"jev-latest"}, "", false},
		{"none", "openai", `{"data":[]}`, nil, "", false},
		{"no list", "openai", `{"error":"x"}`, nil, "", true},
		{"no JSON", "openai", `<html>`, nil, "", true},
		{"a wrong type", "openai", `{"data":"x"}`, nil, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, next, err := row(t, tt.provider).ReadModels([]byte(tt.body))
			if (err != nil) != tt.fails || !slices.Equal(got, tt.want) || next != tt.next {
				t.Errorf("got %q, %q, %v", got, next, err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"openai": nil, "bedrock": {"region"}, "vertex_ai": {"location", "project"}, "azure": {"api_base"}, "snowflake": {"account"},
	} {
		if got := row(t, name).Options(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func FuzzReadModels(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}`))
	f.Add([]byte(`[{"id":"a"}]`))
	f.Add([]byte(`{"models":[{"name":"models/x"}],"nextPageToken":5}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, name := range []string{"openai", "anthropic", "gemini", "cohere", "ollama"} {
			models, _, err := row(t, name).ReadModels(body)
			if err != nil && models != nil {
				t.Errorf("%s: got %q beside %v", name, models, err)
			}
			if slices.Contains(models, "") {
				t.Errorf("%s: got a model without a name", name)
			}
		}
	})
}
