package pass_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/proxy/pass"
)

func TestModels(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][]string{
		`{"model":"top","requests":[{"params":{"model":"a","messages":[{"content":"x","model":"no"}]}},{"params":{"model":"b"}},{"params":{"model":"a"}}]}`: {"a", "b"},
		`{"data_source":{"model":"a","source":{"type":"file_id"}},"testing_criteria":[{"type":"score_model","model":"b"}]}`:                                 {"a", "b"},
		`{"batch":{"input_config":{"requests":{"requests":[{"request":{"model":"models/a"}}]}}}}`:                                                           {"a"},
		`{"modelId":"a"}`: {"a"},
		`{"requests":[{"params":{"mod\u0065l":"a"}}]}`:      {"a"},
		`{"metadata":{"model":"no"},"model":{"model":"a"}}`: {"a"},
		`{"name":"no models"}`:                              nil, `{"requests":`: nil, `[]`: nil,
	} {
		if got, ok := pass.Models([]byte(body)); !ok || !slices.Equal(got, want) {
			t.Errorf("Models(%s) = %v, %t, want %v", body, got, ok, want)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, `{"model":"m`+strings.Repeat("x", i)+`"}`)
	}
	if _, ok := pass.Models([]byte(`{"requests":[` + strings.Join(many, ",") + `]}`)); ok {
		t.Error("a hundred models are taken")
	}
	if _, ok := pass.LineModels([]byte(strings.Join(many, "\n"))); ok {
		t.Error("a hundred models of lines are taken")
	}
	got, ok := pass.LineModels([]byte("{\"custom_id\":\"1\",\"body\":{\"model\":\"a\"}}\nno\n{\"body\":{\"model\":\"b\"}}"))
	if !ok || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("lines name %v, %t", got, ok)
	}
}

func TestBatchAt(t *testing.T) {
	t.Parallel()
	for rest, want := range map[string]pass.Batch{
		"v1/messages/batches": pass.BatchResults, "v1/batches/": pass.BatchResults, "v1/messages/batches/b/cancel": pass.NoBatch, "v1/messages/batches/b": pass.NoBatch,
		"v1beta/models/m:batchGenerateContent": pass.BatchResults, "v1beta/models/m%3AbatchGenerateContent/": pass.BatchResults, "v1beta/models/m:asyncBatchEmbedContent": pass.BatchUnread, "v1/projects/p/locations/l/batchPredictionJobs": pass.BatchUnread, "async%2Dinvoke": pass.BatchUnread,
		"v1/evals": pass.NoBatch, "%zz": pass.NoBatch, "v1/batch/jobs": pass.BatchResults, "v1/batch/jobs/j/cancel": pass.NoBatch, "v1/jobs": pass.NoBatch,
	} {
		if got := pass.BatchAt(rest); got != want {
			t.Errorf("BatchAt(%s) = %d, want %d", rest, got, want)
		}
	}
	for rest, want := range map[string]string{
		"batches": "batches", "v1/messages/batches/b/results": "v1/messages/batches", "v1/batch/jobs/j": "v1/batch/jobs", "v1/mybatches/b": "", "v1/jobs": "",
		"v1beta/models/m:batchGenerateContent": "v1beta/batches", "models/m%3abatchGenerateContent/": "batches", "v1beta/batches/b:cancel": "v1beta/batches",
	} {
		if got, ok := pass.Batches(rest); got != want || ok != (want != "") {
			t.Errorf("Batches(%s) = %q, %t, want %q", rest, got, ok, want)
		}
	}
	for rest, want := range map[string]string{
		"v1/messages/batches/msgbatch_1/results": "msgbatch_1", "messages/batches/b%5F1/results/": "b_1", "v1/messages/batches/b": "", "v1/batches/b/results": "", "v1/messages/batches/a/b/results": "",
	} {
		if got := pass.Results(rest); got != want {
			t.Errorf("Results(%s) = %q, want %q", rest, got, want)
		}
	}
}

// Whatever a body is, reading the models that it names ends.
func FuzzModels(f *testing.F) {
	f.Add(`{"requests":[{"params":{"model":"a"}}]}`)
	f.Add("{\"body\":{\"model\":\"b\"}}\n{")
	f.Fuzz(func(t *testing.T, body string) {
		for _, read := range []func([]byte) ([]string, bool){pass.Models, pass.LineModels} {
			models, ok := read([]byte(body))
			if ok && len(models) > 64 || slices.Contains(models, "") {
				t.Errorf("%d models: %v", len(models), models)
			}
		}
	})
}
