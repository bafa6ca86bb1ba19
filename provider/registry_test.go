package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/provider/providertest/vendors"
)

// relayed are the endpoints of conversations that are passed on as they are alone, each with why it has no suite.
var relayed = map[llm.Endpoint]string{
	llm.Invoke: "the words of any maker, which only Bedrock reads; as clients speak it, package bedrock tests it",
}

// TestConversations_All: every dialect of conversations has a suite, as has every row that reads its answers with a
// codec of its own.
func TestConversations_All(t *testing.T) {
	t.Parallel()
	of := map[llm.Endpoint]*providertest.Format{}
	whole := map[string]bool{} // codec and endpoint
	for _, f := range vendors.Conversations() {
		p, _ := provider.Lookup(f.Provider)
		whole[wayOf(p, f.Endpoint)] = true
		if of[f.Endpoint] == nil {
			of[f.Endpoint] = f
		}
	}
	for _, e := range llm.Endpoints() {
		if _, ok := provider.OutboundOf(e); ok && of[e] == nil {
			t.Errorf("%s has no suite: add it to the table of package vendors", e)
		}
	}
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		for _, e := range p.Endpoints {
			if e.Family() != llm.FamilyConversation || relayed[e] != "" || whole[wayOf(p, e)] {
				continue
			}
			whole[wayOf(p, e)] = true
			f := *of[e]
			f.Provider = name
			t.Run(name+"/"+e.String(), func(t *testing.T) {
				t.Parallel()
				providertest.Answers(t, &f)
			})
		}
	}
}

// wayOf names how a row reads the answers of an endpoint.
func wayOf(p *provider.Provider, e llm.Endpoint) string {
	return fmt.Sprintf("%T %s %v", p.Codec, e, p.NoEndMark)
}

// parts are the packages below this one that are no adapters.
var parts = map[string]string{
	"modelfile": "the check of a deployment's files", "plain": "what the adapters of texts share", "providertest": "the suite", "providertest/vendors": "its table",
	"gemini/schema": "JSON schemas in Google's words", "openai/media": "the clients' half of media", "copilot": "rows alone: its dialects are OpenAI's",
	"mistral": "the clients' half of documents",
}

// TestAdapters_All: every package below this one is that of a dialect or of a codec in the tables, whose suites
// fail without it.
func TestAdapters_All(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	use := func(v any) {
		if v == nil {
			return
		}
		used[strings.TrimPrefix(reflect.TypeOf(v).PkgPath(), reflect.TypeFor[provider.Provider]().PkgPath()+"/")] = true
	}
	for _, e := range llm.Endpoints() {
		for _, v := range dialectsOf(e) {
			use(v)
		}
	}
	for _, name := range provider.Names() {
		p, _ := provider.Lookup(name)
		use(p.Codec)
	}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == "." {
			return err
		}
		sources, err := filepath.Glob(filepath.Join(path, "*.go"))
		if !slices.ContainsFunc(sources, func(s string) bool { return !strings.HasSuffix(s, "_test.go") }) {
			return err
		}
		name := filepath.ToSlash(path)
		if used[name] == (parts[name] != "") {
			t.Errorf("%s: is it an adapter (in a table: %v), or a part of others (%q)?", name, used[name], parts[name])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dialectsOf are the halves of an endpoint's dialects that speak to providers.
func dialectsOf(e llm.Endpoint) (list []any) {
	add := func(v any, ok bool) {
		if ok {
			list = append(list, v)
		}
	}
	conversation, ok := provider.OutboundOf(e)
	add(conversation, ok)
	vectors, ok := provider.EmbedOutboundOf(e)
	add(vectors, ok)
	ranking, ok := provider.RerankOutboundOf(e)
	add(ranking, ok)
	decision, ok := provider.DecisionOutboundOf(e)
	add(decision, ok)
	document, ok := provider.DocumentOutboundOf(e)
	add(document, ok)
	count, ok := provider.CountOutboundOf(e)
	add(count, ok)
	picture, ok := provider.PictureOutboundOf(e)
	add(picture, ok)
	speech, ok := provider.SpeechOutboundOf(e)
	add(speech, ok)
	transcript, ok := provider.TranscriptOutboundOf(e)
	add(transcript, ok)
	return list
}
