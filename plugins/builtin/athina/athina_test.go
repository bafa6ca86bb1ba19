package athina_test

import (
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/athina"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// inference is what Athina reads of a log.
type inference struct {
	Model     string `json:"language_model_id"`
	Prompt    []struct{ Role, Content string }
	Response  string
	Tokens    int64   `json:"total_tokens"`
	Millis    int64   `json:"response_time"`
	Cost      float64 `json:"cost"`
	Reference string  `json:"external_reference_id"`
	Custom    struct {
		Status string
		HTTP   int `json:"http_status"`
		Error  string
	} `json:"custom_attributes"`
}

func TestAthina(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	log := func(r *sinktest.Request) (int, string) {
		if r.Path != "/api/v1/log/inference" || r.Header.Get("Athina-Api-Key") != "ath-s3cret" {
			return http.StatusUnauthorized, "no"
		}
		return http.StatusOK, `{"status":"success"}`
	}
	config := map[string]any{"url": s.URL, "api_key": "ath-s3cret", "environment": "prod"}
	sinktest.Behaves(t, func() sdk.Callback { return &athina.Athina{} }, s, sinktest.Config{Value: config, Secrets: []string{"ath-s3cret"}}, log)
	c := &athina.Athina{}
	sinktest.Configure(t, c, config)
	s.Answer(log)
	sinktest.DeliverEach(t, c, sinktest.Telling(sinktest.Records(2)))
	var in []inference
	for _, r := range s.Take() {
		var one inference
		r.JSON(t, &one)
		in = append(in, one)
	}
	if len(in) != 2 {
		t.Fatalf("%d logs", len(in))
	}
	if a := in[0]; a.Model != "gpt-x" || len(a.Prompt) != 1 || a.Prompt[0].Role != "user" || a.Response != sinktest.Canary+" said" ||
		a.Tokens != 125 || a.Millis != 1500 || a.Cost != 0.00125 || a.Reference != "req-1" {
		t.Errorf("got %+v", a)
	}
	if b := in[1]; b.Custom.Status != "failure" || b.Custom.HTTP != 429 || b.Custom.Error == "" {
		t.Errorf("got %+v", b)
	}
	for answer, want := range map[string]string{
		`{"content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]}`: "one\ntwo", `{"choices":[{"text":"completed"}]}`: "completed",
		`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c1"}]}}]}`: `{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c1"}]}}]}`, "data: x": "data: x",
	} {
		r := sinktest.Telling(sinktest.Records(1))
		r[0].Response = []byte(answer)
		sinktest.Deliver(t, c, r)
		var one inference
		sent := s.Take()
		sent[0].JSON(t, &one)
		if one.Response != want {
			t.Errorf("%s: got %q, want %q", answer, one.Response, want)
		}
	}
	for _, bad := range []map[string]any{{}, {"api_key": "x", "url": "x"}} {
		if sinktest.Try(&athina.Athina{}, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
