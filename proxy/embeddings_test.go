package proxy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// embedder is a vendor of embeddings: what one request may hold, read strictly, and how it answers.
type embedder struct {
	provider, model string
	path            string
	request         func() any // a pointer to the vendor's form
	texts           func(any) []string
	answer          func(vectors [][]float64) any
	header          map[string]string
	usage           int64 // for each text; 0: it does not say
}

// vectorOf is what every model makes of a text.
func vectorOf(text string) []float64 { return []float64{float64(len(text)), -0.5, 1e-07} }

type (
	openaiForm struct {
		Model      string   `json:"model"`
		Input      []string `json:"input"`
		Encoding   string   `json:"encoding_format"`
		Dimensions int      `json:"dimensions"`
		User       string   `json:"user"`
	}
	googleForm struct {
		Requests []struct {
			Model   string
			Content struct{ Parts []struct{ Text string } }
			Size    int    `json:"outputDimensionality"`
			Task    string `json:"taskType"`
		} `json:"requests"`
	}
	vertexForm struct {
		Instances []struct {
			Content string `json:"content"`
			Task    string `json:"task_type"`
		} `json:"instances"`
		Parameters struct {
			Size int `json:"outputDimensionality"`
		} `json:"parameters"`
	}
	cohereForm struct {
		Model string   `json:"model"`
		Texts []string `json:"texts"`
		Type  string   `json:"input_type"`
		Types []string `json:"embedding_types"`
		Size  int      `json:"output_dimension"`
	}
	titanForm struct {
		Text string `json:"inputText"`
		Size int    `json:"dimensions"`
	}
	ollamaForm struct {
		Model string   `json:"model"`
		Input []string `json:"input"`
		Size  int      `json:"dimensions"`
	}
	voyageForm struct {
		Model string   `json:"model"`
		Input []string `json:"input"`
		Size  int      `json:"output_dimension"`
		Type  string   `json:"input_type"`
	}
	jinaForm struct {
		Model string   `json:"model"`
		Input []string `json:"input"`
		Size  int      `json:"dimensions"`
		Task  string   `json:"task"`
		Type  string   `json:"embedding_type"`
	}
	mistralForm struct {
		Model    string   `json:"model"`
		Input    []string `json:"input"`
		Size     int      `json:"output_dimension"`
		Encoding string   `json:"encoding_format"`
	}
	teiForm struct {
		Inputs []string `json:"inputs"`
		Size   int      `json:"dimensions"`
	}
	tritonForm struct {
		Inputs []struct {
			Name     string   `json:"name"`
			Shape    []int    `json:"shape"`
			Datatype string   `json:"datatype"`
			Data     []string `json:"data"`
		} `json:"inputs"`
	}
)

// listed is an answer in OpenAI's form, in the wrong order: the index counts.
func listed(vectors [][]float64) any {
	data := make([]map[string]any, 0, len(vectors))
	for i, v := range slices.Backward(vectors) {
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": v})
	}
	return map[string]any{"object": "list", "model": "up-1", "data": data, "usage": map[string]any{"prompt_tokens": 3 * len(vectors), "total_tokens": 3 * len(vectors)}}
}

var embedders = []embedder{
	{
		provider: "openai", model: "text-embedding-3-small", path: "/embeddings", usage: 3, answer: listed,
		request: func() any { return new(openaiForm) }, texts: func(v any) []string { return v.(*openaiForm).Input },
	},
	{
		provider: "gemini", model: "gemini-embedding-001", path: "/models/gemini-embedding-001:batchEmbedContents",
		request: func() any { return new(googleForm) },
		texts: func(v any) (texts []string) {
			for _, q := range v.(*googleForm).Requests {
				if q.Model == "models/gemini-embedding-001" && len(q.Content.Parts) == 1 {
					texts = append(texts, q.Content.Parts[0].Text)
				}
			}
			return texts
		},
		answer: func(vectors [][]float64) any {
			var list []any
			for _, v := range vectors {
				list = append(list, map[string]any{"values": v})
			}
			return map[string]any{"embeddings": list}
		},
	},
	{
		provider: "vertex_ai", model: "text-embedding-005", path: "/publishers/google/models/text-embedding-005:predict", usage: 3,
		request: func() any { return new(vertexForm) },
		texts: func(v any) (texts []string) {
			for _, in := range v.(*vertexForm).Instances {
				texts = append(texts, in.Content)
			}
			return texts
		},
		answer: func(vectors [][]float64) any {
			var list []any
			for _, v := range vectors {
				list = append(list, map[string]any{"embeddings": map[string]any{"values": v, "statistics": map[string]any{"truncated": false, "token_count": 3}}})
			}
			return map[string]any{"predictions": list, "metadata": map[string]any{"billableCharacterCount": 10}}
		},
	},
	{
		provider: "cohere", model: "embed-v4.0", path: "/embed", usage: 3,
		request: func() any { return new(cohereForm) }, texts: func(v any) []string { return v.(*cohereForm).Texts },
		answer: func(vectors [][]float64) any {
			return map[string]any{"id": "x", "texts": []string{"t"}, "embeddings": map[string]any{"float": vectors}, "meta": map[string]any{"billed_units": map[string]any{"input_tokens": 3 * len(vectors)}}}
		},
	},
	{
		provider: "bedrock", model: "amazon.titan-embed-text-v2:0", path: "/model/amazon.titan-embed-text-v2%3A0/invoke", usage: 3,
		request: func() any { return new(titanForm) }, texts: func(v any) []string { return []string{v.(*titanForm).Text} },
		answer: func(vectors [][]float64) any {
			return map[string]any{"embedding": vectors[0], "embeddingsByType": map[string]any{"float": vectors[0]}, "inputTextTokenCount": 3}
		},
	},
	{
		provider: "bedrock", model: "eu.cohere.embed-v4:0", path: "/model/eu.cohere.embed-v4%3A0/invoke", usage: 3, header: map[string]string{"X-Amzn-Bedrock-Input-Token-Count": "%d"},
		request: func() any { return new(cohereForm) }, texts: func(v any) []string { return v.(*cohereForm).Texts },
		answer: func(vectors [][]float64) any {
			return map[string]any{"id": "x", "response_type": "embeddings_by_type", "embeddings": map[string]any{"float": vectors}, "texts": []string{}}
		},
	},
	{
		provider: "ollama", model: "nomic-embed-text", path: "/api/embed", usage: 3,
		request: func() any { return new(ollamaForm) }, texts: func(v any) []string { return v.(*ollamaForm).Input },
		answer: func(vectors [][]float64) any {
			return map[string]any{"model": "nomic-embed-text", "embeddings": vectors, "total_duration": 14143917, "prompt_eval_count": 3 * len(vectors)}
		},
	},
	{
		provider: "voyage", model: "voyage-3.5", path: "/embeddings", usage: 3, answer: listed,
		request: func() any { return new(voyageForm) }, texts: func(v any) []string { return v.(*voyageForm).Input },
	},
	{
		provider: "jina_ai", model: "jina-embeddings-v3", path: "/embeddings", usage: 3, answer: listed,
		request: func() any { return new(jinaForm) }, texts: func(v any) []string { return v.(*jinaForm).Input },
	},
	{
		provider: "mistral", model: "codestral-embed", path: "/embeddings", usage: 3, answer: listed,
		request: func() any { return new(mistralForm) }, texts: func(v any) []string { return v.(*mistralForm).Input },
	},
	{
		provider: "tei", model: "BAAI/bge-m3", path: "/embed", usage: 3, header: map[string]string{"X-Compute-Tokens": "%d"},
		request: func() any { return new(teiForm) }, texts: func(v any) []string { return v.(*teiForm).Inputs },
		answer: func(vectors [][]float64) any { return vectors },
	},
	{
		provider: "triton", model: "my emb", path: "/v2/models/my%20emb/infer",
		request: func() any { return new(tritonForm) },
		texts: func(v any) (texts []string) {
			for _, in := range v.(*tritonForm).Inputs {
				if in.Name == "input_text" && in.Datatype == "BYTES" && len(in.Shape) == 1 && in.Shape[0] == len(in.Data) {
					texts = append(texts, in.Data...)
				}
			}
			return texts
		},
		answer: func(vectors [][]float64) any {
			return map[string]any{"model_name": "my emb", "outputs": []any{map[string]any{
				"name": "embedding", "datatype": "FP32", "shape": []int{len(vectors), len(vectors[0])}, "data": slices.Concat(vectors...),
			}}}
		},
	},
}

// serve is the vendor, which refuses what it does not know.
func (e *embedder) serve(t *testing.T) (srv *httptest.Server, sizes func() []int) {
	t.Helper()
	var mu sync.Mutex
	var seen []int
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		form := e.request()
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		w.Header().Set("Content-Type", "application/json")
		if err := d.Decode(form); err != nil || r.URL.EscapedPath() != e.path {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = fmt.Fprintf(w, `{"error":{"message":"%s: %s: %v"}}`, r.URL.EscapedPath(), strings.ReplaceAll(string(raw), `"`, "'"), err)
			return
		}
		texts := e.texts(form)
		if i := slices.Index(texts, "bad"); i >= 0 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"message":"it is bad","type":"invalid_request_error"}}`)
			return
		}
		mu.Lock()
		seen = append(seen, len(texts))
		mu.Unlock()
		var vectors [][]float64
		for _, text := range texts {
			vectors = append(vectors, vectorOf(text))
		}
		for k, v := range e.header {
			w.Header().Set(k, fmt.Sprintf(v, 3*len(texts)))
		}
		_ = json.NewEncoder(w).Encode(e.answer(vectors))
	}))
	t.Cleanup(srv.Close)
	return srv, func() []int { mu.Lock(); defer mu.Unlock(); slices.Sort(seen); return seen }
}

// rigFor is a gateway with one deployment at the vendor.
func (e *embedder) rigFor(t *testing.T, base string, options map[string]string) *rig {
	t.Helper()
	r := newRig(t)
	up := upstream.New(upstream.Config{})
	t.Cleanup(up.Close)
	r.cfg.Upstream = proxy.FromClient(up)
	all := map[string]string{"region": "eu-central-1", "aws_access_key_id": "AKIA0"}
	maps.Copy(all, options)
	r.tables.Deployments = []*resource.Deployment{{
		Meta: resource.Meta{ID: "dep_1"}, Name: "d1", ModelID: "model_demo", Provider: e.provider, Upstream: e.model, APIBase: base,
		APIKey: &resource.Sealed{}, Options: all, Secrets: map[string]*resource.Sealed{"aws_secret_access_key": {}},
	}}
	return r
}

// vectorsIn reads the vectors of an answer in any client's form.
func vectorsIn(t *testing.T, body []byte) (vectors [][]float64) {
	t.Helper()
	var got struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
		Embedding  struct{ Values []float64 }
		Embeddings []struct{ Values []float64 }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for i, d := range got.Data {
		var v []float64
		var packed string
		if json.Unmarshal(d.Embedding, &packed) == nil {
			raw, err := base64.StdEncoding.DecodeString(packed)
			if err != nil {
				t.Fatal(err)
			}
			for ; len(raw) >= 4; raw = raw[4:] {
				v = append(v, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
			}
		} else if err := json.Unmarshal(d.Embedding, &v); err != nil || d.Index != i {
			t.Fatalf("%s: %v", d.Embedding, err)
		}
		vectors = append(vectors, v)
	}
	for _, e := range got.Embeddings {
		vectors = append(vectors, e.Values)
	}
	if got.Embedding.Values != nil {
		vectors = append(vectors, got.Embedding.Values)
	}
	return vectors
}

// near compares numbers that went through 32 bits.
var near = cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Max(math.Abs(a), math.Abs(b)) })

// TestEmbeddings asks every vendor in every client's form: texts alone and in lists, numbers and base64.
func TestEmbeddings(t *testing.T) {
	t.Parallel()
	for _, e := range embedders {
		for _, cl := range []struct {
			name, path, body string
			texts            []string
		}{
			{"text", "/v1/embeddings", `{"model":"demo","input":["hello"],"dimensions":256}`, []string{"hello"}},
			{"base64", "/v1/embeddings", `{"model":"demo","input":["one","three"],"encoding_format":"base64"}`, []string{"one", "three"}},
			{"google", "/v1beta/models/demo:embedContent", `{"model":"models/demo","content":{"parts":[{"text":"hello"}]},"outputDimensionality":256}`, []string{"hello"}},
			{"google batch", "/v1beta/models/demo:batchEmbedContents", `{"requests":[{"model":"models/demo","content":{"parts":[{"text":"one"}]}},{"content":{"parts":[{"text":"three"}]}}]}`, []string{"one", "three"}},
		} {
			t.Run(e.provider+"/"+e.model+"/"+cl.name, func(t *testing.T) {
				t.Parallel()
				srv, _ := e.serve(t)
				r := e.rigFor(t, srv.URL, nil)
				w := r.do("POST", cl.path, cl.body)
				if w.Code != 200 {
					t.Fatalf("got %d %s", w.Code, w.Body)
				}
				var want [][]float64
				for _, text := range cl.texts {
					want = append(want, vectorOf(text))
				}
				if d := cmp.Diff(want, vectorsIn(t, w.Body.Bytes()), near); d != "" {
					t.Errorf("vectors (-want +got):\n%s", d)
				}
				if cl.name == "base64" && strings.Contains(w.Body.String(), `"embedding":[`) {
					t.Errorf("no base64: %s", w.Body)
				}
				r.checkBalance()
				u := r.journal.settled[0].Usage
				if e.usage > 0 && (u.Input != e.usage*int64(len(cl.texts)) || u.Source != llm.UsageProvider) || e.usage == 0 && u.Source != llm.UsageEstimated || u.Completion() != 0 {
					t.Errorf("usage %+v", u)
				}
			})
		}
	}
}

// TestEmbeddings_Parts: a request of more inputs than the vendor takes is asked in parts, under one
// hold; the vectors stand in order, the usage is the sum, and one failure is everybody's.
func TestEmbeddings_Parts(t *testing.T) {
	t.Parallel()
	texts := make([]string, 23)
	for i := range texts {
		texts[i] = strings.Repeat("x", i+1)
	}
	list, _ := json.Marshal(texts)
	for _, e := range embedders {
		t.Run(e.provider+"/"+e.model, func(t *testing.T) {
			t.Parallel()
			srv, sizes := e.serve(t)
			most := 5
			if strings.HasPrefix(e.model, "amazon.") {
				most = 1
			}
			r := e.rigFor(t, srv.URL, map[string]string{"max_batch": fmt.Sprint(most)})
			w := r.do("POST", "/v1/embeddings", `{"model":"demo","input":`+string(list)+`}`)
			if w.Code != 200 {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			got := vectorsIn(t, w.Body.Bytes())
			for i := range texts {
				if len(got) != len(texts) || got[i][0] != float64(i+1) {
					t.Fatalf("vector %d of %d: %v", i, len(got), got[i])
				}
			}
			if n := sizes(); n[len(n)-1] > most || len(n) != (len(texts)+most-1)/most {
				t.Errorf("parts of %v", n)
			}
			r.checkBalance()
			if u := r.journal.settled[0].Usage; len(r.journal.settled) != 1 || e.usage > 0 && u.Input != 69 {
				t.Errorf("%d records, usage %+v", len(r.journal.settled), u)
			}
			bad := slices.Clone(texts)
			bad[7] = "bad"
			list, _ := json.Marshal(bad)
			w = r.do("POST", "/v1/embeddings", `{"model":"demo","input":`+string(list)+`}`)
			if !strings.Contains(w.Body.String(), "it is bad") || w.Code != 400 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if where := "inputs 5 to 9"; most > 1 && !strings.Contains(w.Body.String(), where) || most == 1 && !strings.Contains(w.Body.String(), `"param":"input[7]"`) {
				t.Errorf("the input is not named: %s", w.Body)
			}
		})
	}
}

// TestEmbeddings_Policy: what a vendor cannot take is dropped and named, or refused.
func TestEmbeddings_Policy(t *testing.T) {
	t.Parallel()
	e := embedders[slices.IndexFunc(embedders, func(e embedder) bool { return e.provider == "ollama" })]
	srv, _ := e.serve(t)
	r := e.rigFor(t, srv.URL, nil)
	const body = `{"model":"demo","input":"hello","user":"u","input_type":"search_query","late_chunking":true}`
	w := r.do("POST", "/v1/embeddings", body)
	if got := w.Header().Get("X-Conclave-Dropped-Params"); w.Code != 200 || got != "user,input_type,late_chunking" {
		t.Errorf("got %d %s, dropped %q", w.Code, w.Body, got)
	}
	for _, m := range r.tables.Models {
		m.UnsupportedParams = resource.ParamsReject
	}
	if w = r.do("POST", "/v1/embeddings", body); w.Code != 400 || codeOf(t, w.Body.String()) != llm.CodeUnsupported {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestEmbeddings_Tokens: tokens are refused by name where nobody can spell them.
func TestEmbeddings_Tokens(t *testing.T) {
	t.Parallel()
	e := embedders[slices.IndexFunc(embedders, func(e embedder) bool { return e.provider == "cohere" })]
	srv, _ := e.serve(t)
	r := e.rigFor(t, srv.URL, nil)
	const body = `{"model":"demo","input":["one",[15339,1917]]}`
	if w := r.do("POST", "/v1/embeddings", body); w.Code != 400 || codeOf(t, w.Body.String()) != llm.CodeUnsayable || !strings.Contains(w.Body.String(), `"param":"input[1]"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	r = e.rigFor(t, srv.URL, nil)
	r.cfg.Detokenize = func(tokens []int64) (string, error) {
		if tokens[0] != 15339 {
			return "", errors.New("unknown token")
		}
		return "hello world", nil
	}
	w := r.do("POST", "/v1/embeddings", body)
	if got := vectorsIn(t, w.Body.Bytes()); w.Code != 200 || len(got) != 2 || got[1][0] != 11 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := r.do("POST", "/v1/embeddings", `{"model":"demo","input":[7]}`); w.Code != 400 || !strings.Contains(w.Body.String(), "unknown token") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestEmbeddings_Answers: an answer that is not what was asked for is the provider's fault.
func TestEmbeddings_Answers(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		`{"embeddings":[[1,2]]}`, `{"embeddings":[[1,2],[3,"x"]]}`, `{"embeddings":[[1,2],null]}`, `{"embeddings":{}}`, `{}`, `[]`, `null`, `{"embeddings":[[1,2],[]]}`,
		`{"embeddings":[[1,2],[3,4],[5,6]]}`, `{"embeddings":[[1,2],[3,4]`, `<html>`, ``,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		}))
		r := (&embedder{provider: "ollama", model: "m"}).rigFor(t, srv.URL, nil)
		w := r.do("POST", "/v1/embeddings", `{"model":"demo","input":["a","b"]}`)
		if w.Code != 502 || codeOf(t, w.Body.String()) != "invalid_response" {
			t.Errorf("%s: got %d %s", answer, w.Code, w.Body)
		}
		srv.Close()
	}
}

// TestEmbeddings_Requests: what is wrong with a request is said by the field.
func TestEmbeddings_Requests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, body, param string }{
		{"/v1/embeddings", `{"model":"demo","input":[]}`, "input"},
		{"/v1/embeddings", `{"model":"demo"}`, "input"},
		{"/v1/embeddings", `{"model":"demo","input":["a",7]}`, "input"},
		{"/v1/embeddings", `{"model":"demo","input":["a",[]]}`, "input[1]"},
		{"/v1/embeddings", `{"model":"demo","input":["a",[1.5]]}`, "input[1]"},
		{"/v1/embeddings", `{"model":"demo","input":true}`, "input"},
		{"/v1/embeddings", `{"model":"demo","input":"a","dimensions":-1}`, "dimensions"},
		{"/v1/embeddings", `{"model":"demo","input":"a","encoding_format":"int8"}`, "encoding_format"},
	} {
		r := (&embedder{provider: "ollama", model: "m"}).rigFor(t, "http://127.0.0.1:1", nil)
		w := r.do("POST", tt.path, tt.body)
		if w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"`+tt.param+`"`) {
			t.Errorf("%s: got %d %s", tt.body, w.Code, w.Body)
		}
	}
	for _, body := range []string{`{}`, `{"content":7}`, `{"content":{"parts":[7]}}`} {
		r := (&embedder{provider: "ollama", model: "m"}).rigFor(t, "http://127.0.0.1:1", nil)
		if w := r.do("POST", "/v1beta/models/demo:embedContent", body); w.Code != 400 || !strings.Contains(w.Body.String(), "INVALID_ARGUMENT") {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
}
