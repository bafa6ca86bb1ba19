package presidio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/plugins/builtin/presidio"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// kinds are what the stand-in finds, each with its score.
var kinds = map[string]struct {
	re    *regexp.Regexp
	score float64
}{
	"PERSON": {regexp.MustCompile(`Bob(by)?`), 0.85}, "NICKNAME": {regexp.MustCompile(`obby`), 0.9}, "IBAN_CODE": {regexp.MustCompile(`DE\d{8}`), 1}, "LOCATION": {regexp.MustCompile(`Rome`), 0.3},
}

// serve is a stand-in for Presidio's analyzer and anonymizer.
func serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/anonymize" {
			anonymize(t, w, r)
			return
		}
		var in struct {
			Text        string   `json:"text"`
			Language    string   `json:"language"`
			Entities    []string `json:"entities"`
			Recognizers []any    `json:"ad_hoc_recognizers"`
		}
		servicetest.Read(t, r, &in)
		if r.URL.Path != "/analyze" || in.Language != "en" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		out := []any{}
		for kind, k := range kinds {
			if len(in.Entities) > 0 && !slices.Contains(in.Entities, kind) {
				continue
			}
			for _, m := range k.re.FindAllStringIndex(in.Text, -1) {
				out = append(out, map[string]any{
					"entity_type": kind, "start": utf8.RuneCountInString(in.Text[:m[0]]), "end": utf8.RuneCountInString(in.Text[:m[1]]), "score": k.score,
					"analysis_explanation": nil, "recognition_metadata": map[string]string{"recognizer_name": "x"},
				})
			}
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

func anonymize(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var in struct {
		Text    string `json:"text"`
		Results []struct {
			Kind  string  `json:"entity_type"`
			Start int     `json:"start"`
			End   int     `json:"end"`
			Score float64 `json:"score"`
		} `json:"analyzer_results"`
		Anonymizers map[string]any `json:"anonymizers"`
	}
	servicetest.Read(t, r, &in)
	runes := []rune(in.Text)
	for _, x := range in.Results {
		for i := x.Start; i < x.End; i++ {
			runes[i] = '*'
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"text": string(runes), "items": []any{}})
}

func config(base, more string) string {
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q%s}`, base, servicetest.Key, more)
}

func TestPresidio(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	for _, tt := range []struct {
		config, text, left string
		want               guardrail.Action
		found              string
	}{
		{"", "hello", "", guardrail.Pass, "[]"},
		{"", "ä Bob, DE12345678", "ä <PERSON>, <IBAN_CODE>", guardrail.Rewrite, "[IBAN_CODE PERSON]"},
		{"", "Bobby", "<PERSON>", guardrail.Rewrite, "[PERSON]"}, // of two that overlap
		{`,"presidio_score_thresholds":{"ALL":0.5}`, "Bob in Rome", "<PERSON> in Rome", guardrail.Rewrite, "[PERSON]"},
		{`,"pii_entities_config":{"IBAN_CODE":"BLOCK","PERSON":"MASK"}`, "Bob in Rome", "<PERSON> in Rome", guardrail.Rewrite, "[PERSON]"},
		{`,"pii_entities_config":{"IBAN_CODE":"BLOCK","PERSON":"MASK"}`, "Bob DE12345678", "", guardrail.Block, "[IBAN_CODE]"},
		{`,"pii_entities_config":{"LOCATION":"flag"}`, "Bob in Rome", "", guardrail.Pass, "[LOCATION]"},
		{`,"presidio_entities_deny_list":["PERSON","NICKNAME"]`, "Bob in Rome", "Bob in <LOCATION>", guardrail.Rewrite, "[LOCATION]"},
		{fmt.Sprintf(`,"presidio_anonymizer_api_base":%q,"anonymizers":{"DEFAULT":{"type":"mask"}}`, base), "ä Bob", "ä ***", guardrail.Rewrite, "[PERSON]"},
	} {
		v, err := servicetest.Configured(t, &presidio.Presidio{}, config(base, tt.config)).Check(t.Context(), servicetest.Check(sdk.Before, "first", tt.text))
		left := ""
		if len(v.Replacements) == 1 && v.Replacements[0].Index == 1 {
			left = v.Replacements[0].Text
		}
		slices.SortFunc(v.Findings, func(a, b sdk.Finding) int { return strings.Compare(a.Category, b.Category) })
		if err != nil || v.Action != tt.want || left != tt.left || fmt.Sprint(v.Findings) != tt.found {
			t.Errorf("%s %q: got %v %q %v, %v", tt.config, tt.text, v.Action, left, v.Findings, err)
		}
	}
}

// What was masked in a request is put back in its answer, streamed or not.
func TestPresidio_Restore(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t))
	for _, scope := range []string{"input", "both"} {
		g := servicetest.Configured(t, &presidio.Presidio{}, config(base, `,"output_parse_pii":true,"presidio_filter_scope":"`+scope+`"`))
		v, err := g.Check(t.Context(), servicetest.Check(sdk.Before, "ask Bob"))
		if err != nil || len(v.Replacements) != 1 || v.Replacements[0].Text != "ask [<PERSON_1>]" {
			t.Fatalf("got %+v, %v", v, err)
		}
		v, err = g.Check(t.Context(), servicetest.Check(sdk.After, "[<PERSON_1>] says no"))
		if err != nil || len(v.Replacements) != 1 || v.Replacements[0].Text != "Bob says no" {
			t.Errorf("%s: got %+v, %v", scope, v, err)
		}
		if scope == "both" {
			continue
		}
		st, err := g.OpenStream(t.Context(), &sdk.Info{RequestID: "r-1"})
		if err != nil {
			t.Fatal(err)
		}
		var rs []sdk.Replacement
		for _, part := range []string{"well, [<PER", "SON_1>] says no, and no, and no, and no, and no, and no, and no, and no"} {
			v, err := st.Chunk(t.Context(), []sdk.Part{{Channel: "a", Text: part}})
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, v.Replacements...)
		}
		if len(rs) != 1 || rs[0].Text != "Bob" || rs[0].Start != 6 {
			t.Errorf("got %+v", rs)
		}
		st.Close()
	}
}

func TestPresidio_Configure(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		`,"pii_entities_config":{"PERSON":"hide"}`: "pii_entities_config.PERSON", `,"presidio_filter_scope":"all"`: "presidio_filter_scope",
		`,"presidio_score_thresholds":{"ALL":2}`: "presidio_score_thresholds.ALL", `,"presidio_score_thresholds":{"PERSN":0.5}`: "presidio_score_thresholds.PERSN: is not looked for; there are ALL, AGE, CREDIT_CARD",
		`,"presidio_score_thresholds":{"PERSON":0.5},"pii_entities_config":{"IBAN_CODE":"BLOCK"}`: "presidio_score_thresholds.PERSON: is not looked for; there are ALL, IBAN_CODE,",
		`,"output_parse_pii":true,"presidio_filter_scope":"output"`:                               "output_parse_pii",
		`,"output_parse_pii":true,"presidio_anonymizer_api_base":"http://a"`:                      "output_parse_pii",
	} {
		if _, err := (&presidio.Presidio{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config("http://h", more))}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", more, err, want)
		}
	}
}

func TestPresidio_Kinds(t *testing.T) {
	t.Parallel()
	for _, more := range []string{
		`,"presidio_score_thresholds":{"ALL":0.4,"PERSON":0.5,"US_SSN":0.1}`,
		`,"presidio_score_thresholds":{"TICKET":0.5},"presidio_ad_hoc_recognizers":[{"name":"t","supported_language":"en","supported_entity":"TICKET","deny_list":["T-1"]}]`,
		`,"presidio_score_thresholds":{"BADGE":0.5},"pii_entities_config":{"BADGE":"MASK"}`,
	} {
		servicetest.Configured(t, &presidio.Presidio{}, config("http://h", more))
	}
}

func TestPresidio_Service(t *testing.T) {
	t.Parallel()
	servicetest.Run(t, servicetest.Case{
		Make: func() sdk.Guardrail { return &presidio.Presidio{} }, Config: func(base string) string { return config(base, "") }, Serve: serve(t), Keyed: true, Lists: true,
		Empty: []string{`[{"entity_type":"PERSON"}]`, `[{"entity_type":"PERSON","start":5,"end":99,"score":1}]`},
	})
}
