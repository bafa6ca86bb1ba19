package proxy_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// TestGoogle_Tools: a client in OpenAI's dialect goes through the loop of a tool with a model of
// Google's that is strict about schemas, turns and signatures, of which the client knows nothing.
func TestGoogle_Tools(t *testing.T) {
	t.Parallel()
	up := mock.New(mock.Config{})
	srv := httptest.NewServer(up)
	t.Cleanup(srv.Close)
	r := newRig(t)
	client := upstream.New(upstream.Config{})
	t.Cleanup(client.Close)
	r.cfg.Upstream = proxy.FromClient(client)
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: "gemini", Upstream: "gemini-3-pro", APIBase: srv.URL + "/v1beta",
		APIKey: &resource.Sealed{},
	}}
	tools := `"tools":[{"type":"function","function":{"name":"look","parameters":{"$schema":"s","type":"object","additionalProperties":false,"properties":{
		"where":{"$ref":"#/$defs/place"},"limit":{"anyOf":[{"type":"integer","exclusiveMinimum":0},{"type":"null"}],"default":null},"kind":{"const":"web"},"tags":{"type":"array","uniqueItems":true}},
		"required":["where"],"$defs":{"place":{"type":"string","format":"uri"}}}}}]`
	w := r.do("POST", "/v1/chat/completions", `{"model":"demo","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"look"}],`+tools+`}`)
	var answer struct {
		Choices []struct {
			Message      json.RawMessage `json:"message"`
			FinishReason string          `json:"finish_reason"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || answer.Choices[0].FinishReason != "tool_calls" {
		t.Fatalf("got %d %s (%v)", w.Code, w.Body, err)
	}
	var message struct {
		Calls []struct {
			ID       string `json:"id"`
			Function struct {
				Name, Arguments string
			} `json:"function"`
		} `json:"tool_calls"`
	}
	if err := json.Unmarshal(answer.Choices[0].Message, &message); err != nil || len(message.Calls) != 1 {
		t.Fatalf("got %s (%v)", answer.Choices[0].Message, err)
	}
	c := message.Calls[0]
	turn := `{"role":"assistant","content":null,"tool_calls":[{"id":"` + c.ID + `","type":"function","function":{"name":"` + c.Function.Name + `","arguments":` + quoted(t, c.Function.Arguments) + `}}]}`
	w = r.do("POST", "/v1/chat/completions", `{"model":"demo","stream":true,"messages":[{"role":"user","content":"look"},`+turn+`,{"role":"tool","tool_call_id":"`+c.ID+`","content":"sunny"}],`+tools+`}`)
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, "said") || !strings.Contains(body, "data: [DONE]") {
		t.Errorf("got %d %s", w.Code, body)
	}
	if u := up.Usage(); u.Requests != 2 || u.Errors != 0 || u.Cut != 0 {
		t.Errorf("the provider saw %+v", u)
	}
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestGoogle_KeyInQuery: Google's clients may send their key behind the path; nobody else may.
func TestGoogle_KeyInQuery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bare := func(req *http.Request) { req.Header.Del("Authorization") }
	const ask = `{"contents":[{"parts":[{"text":"hello"}]}]}`
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1beta/models?key=" + goodKey, "", 200},
		{"POST", "/v1beta/models/demo:countTokens?key=" + goodKey, ask, 200},
		{"POST", "/v1/models/demo:countTokens?alt=json&key=" + goodKey, ask, 200},
		{"GET", "/v1beta/models?key=sk-wrong", "", 401},
		{"GET", "/v1beta/models?key=", "", 401},
		{"GET", "/v1/models?key=" + goodKey, "", 401},
	} {
		if w := r.do(tt.method, tt.path, tt.body, bare); w.Code != tt.want {
			t.Errorf("%s: got %d %s, want %d", tt.path, w.Code, w.Body, tt.want)
		}
	}
	if w := r.do("GET", "/v1beta/models?key=sk-wrong", ""); w.Code != 200 {
		t.Errorf("beside a header: got %d %s", w.Code, w.Body)
	}
}
