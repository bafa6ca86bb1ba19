package length_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/length"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

func TestLength(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config string
		hook   sdk.Hook
		texts  []string
		found  string
	}{
		{`{"input_chars":5}`, sdk.Before, []string{"äöü", "äö"}, "[]"},
		{`{"input_chars":5}`, sdk.Before, []string{"äöü", "äöü"}, "[input_chars]"},
		{`{"text_chars":3}`, sdk.Before, []string{"abc", "abc"}, "[]"},
		{`{"text_chars":3,"texts":1}`, sdk.Before, []string{"abcd", "a"}, "[text_chars texts]"},
		{`{"output_chars":3}`, sdk.After, []string{"abc"}, "[]"},
		{`{"output_chars":3}`, sdk.After, []string{"abcd"}, "[output_chars]"},
	} {
		g := &length.Length{}
		if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(tt.config)}); err != nil {
			t.Fatal(err)
		}
		c := &sdk.Check{Hook: tt.hook}
		for _, s := range tt.texts {
			c.Texts = append(c.Texts, sdk.Text{Role: "user", Text: s})
		}
		v, err := g.Check(t.Context(), c)
		if err != nil || fmt.Sprint(v.Findings) != tt.found || (v.Action == guardrail.Block) != (tt.found != "[]") {
			t.Errorf("%s %q: got %v, %v, %v, want %s", tt.config, tt.texts, v.Action, v.Findings, err, tt.found)
		}
	}
}

func TestLength_Stream(t *testing.T) {
	t.Parallel()
	g := &length.Length{}
	if _, err := g.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(`{"output_chars":4}`)}); err != nil {
		t.Fatal(err)
	}
	st, err := g.OpenStream(t.Context(), &sdk.Info{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i, want := range []guardrail.Action{guardrail.Pass, guardrail.Pass, guardrail.Block} {
		channel := "a"
		if i == 1 {
			channel = "b"
		}
		if v, err := st.Chunk(t.Context(), []sdk.Part{{Channel: channel, Text: "äöü"}}); err != nil || v.Action != want {
			t.Errorf("chunk %d: got %v, %v, want %v", i, v.Action, err, want)
		}
	}
}

func TestLength_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{`{}`: "give at least one of", `{"texts":-1}`: "texts: -1 is negative"} {
		_, err := (&length.Length{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestLength_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &length.Length{} }, plugintest.GuardrailCase{
		Config: []byte(`{"text_chars":30,"output_chars":30}`), Passes: "short", Stops: strings.Repeat("long ", 10),
	})
}
