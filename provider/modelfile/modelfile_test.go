package modelfile_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/provider/modelfile"
	"github.com/conclave-llm/conclave/resource"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	name := func(c string) string { return strings.Repeat(c, 64) }
	files := map[string]string{
		name("a"): "{{ messages[0].content }}", name("b"): "ok\n{% if %}",
		name("c"): `{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`, name("d"): `{"model":{"type":"WordLevel","vocab":{"a":0}}}`,
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	srv.Close()
	files[name("f")] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	read := func(digest string) ([]byte, error) {
		if b, ok := files[digest]; ok {
			return []byte(b), nil
		}
		return nil, errors.New("gone")
	}
	jinja := func(digest string) *resource.PromptTemplate { return &resource.PromptTemplate{Jinja: digest} }
	for _, tt := range []struct {
		name  string
		d     resource.Deployment
		field string // "": it is right
		why   string
	}{
		{"nothing", resource.Deployment{Provider: "openai", Metadata: json.RawMessage(`{"a":1}`)}, "", ""},
		{"a provider that is not there", resource.Deployment{Provider: "vllm"}, "provider", "such as hosted_vllm;"},
		{"one that is like none", resource.Deployment{Provider: "nosuch"}, "provider", "custom_openai"},
		{"a plugin", resource.Deployment{Provider: "plugin/house"}, "", ""},
		{"a template", resource.Deployment{Provider: "hosted_vllm", PromptTemplate: jinja(name("a"))}, "", ""},
		{"a wrong template", resource.Deployment{Provider: "hosted_vllm", PromptTemplate: jinja(name("b"))}, "prompt_template.jinja", "line 2"},
		{"a template that is gone", resource.Deployment{Provider: "hosted_vllm", PromptTemplate: jinja(name("e"))}, "prompt_template.jinja", "gone"},
		{"a template for talk alone", resource.Deployment{Provider: "anthropic", PromptTemplate: jinja(name("a"))}, "prompt_template", "no completions"},
		{"an encoding", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":"o200k_base"}`)}, "", ""},
		{"LiteLLM's name", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":{"identifier":"org/model"}}`)}, "metadata.custom_tokenizer", `"org/model"`},
		{"a file", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":{"blob":"` + name("c") + `"}}`)}, "", ""},
		{"a file of another kind", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":{"blob":"` + name("d") + `"}}`)}, "metadata.custom_tokenizer.blob", "WordLevel"},
		{"a file that is gone", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":{"blob":"` + name("e") + `"}}`)}, "metadata.custom_tokenizer.blob", "gone"},
		{"no digest", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":{"blob":"x"}}`)}, "metadata.custom_tokenizer.blob", "digest"},
		{"authorities", resource.Deployment{Egress: resource.Egress{TLS: &resource.TLS{CA: name("f")}}}, "", ""},
		{"authorities that are none", resource.Deployment{Egress: resource.Egress{TLS: &resource.TLS{CA: name("a")}}}, "tls.ca", "block 1"},
		{"a proxy's authorities that are gone", resource.Deployment{Egress: resource.Egress{Proxy: &resource.Proxy{URL: "https://px", CA: name("e")}}}, "proxy.ca", "gone"},
		{"no object", resource.Deployment{Metadata: json.RawMessage(`{"custom_tokenizer":5}`)}, "metadata.custom_tokenizer", "neither"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := modelfile.Check(&tt.d, read)
			inv, ok := errors.AsType[*resource.Invalid](err)
			if tt.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !ok || inv.Field != tt.field || !strings.Contains(inv.Reason, tt.why) || errors.Is(err, modelfile.ErrUnread) != (tt.why == "gone") {
				t.Errorf("got %v, want %s of %s", err, tt.why, tt.field)
			}
		})
	}
}
