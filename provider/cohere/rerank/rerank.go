// Package rerank reads and writes Cohere's rerankings, which clients speak, and those of the
// vendors whose form differs from it by names alone, such as Voyage and Fireworks.
package rerank

import (
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/jsonread"
	"github.com/conclave-llm/conclave/llm/rerank"
)

// Format is a form of rerankings.
type Format struct {
	TopN    string   // "top_n"
	Results string   // "results"
	Cuts    string   // "max_tokens_per_doc", where the vendor knows it
	Known   []string // further members that it takes
}

// The forms.
var (
	Cohere    = Format{TopN: "top_n", Results: "results", Cuts: "max_tokens_per_doc", Known: []string{"priority"}}
	Voyage    = Format{TopN: "top_k", Results: "data", Known: []string{"truncation"}}
	Fireworks = Format{TopN: "top_n", Results: "data", Known: []string{"task"}}
)

// DecodeRequest reads a client's request.
func (Format) DecodeRequest(body []byte) (*rerank.Request, error) {
	r, req := jsonread.New(body), new(rerank.Request)
	var fields []string
	r.Members(func(name string) {
		if name == "rank_fields" {
			fields = r.Strs()
		} else {
			readMember(&r, req, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	switch {
	case req.Query == "":
		return nil, jsonread.Invalid("query", "must be a text that is not empty")
	case len(req.Documents) == 0:
		return nil, jsonread.Invalid("documents", "must not be empty")
	}
	for i := range req.Documents {
		if d := &req.Documents[i]; d.Raw != nil {
			d.Text = rerank.TextOf(d.Raw, fields)
		}
	}
	return req, nil
}

func readMember(r *jsonread.Reader, req *rerank.Request, name string) {
	switch name {
	case "model":
		req.Model = r.Str()
	case "query":
		req.Query = r.Str()
	case "documents":
		readDocuments(r, req)
	case "top_n":
		req.TopN = r.Count() // 0 means all
	case "return_documents":
		req.Return = r.True()
	case "max_tokens_per_doc":
		req.MaxTokens = r.Count()
	default:
		if slices.Contains(llm.OwnFields(), name) {
			r.Raw()
			return
		}
		if raw := r.Copy(); raw != nil {
			req.Extra = append(req.Extra, llm.Member{Name: name, Value: raw})
		}
	}
}

// readDocuments reads texts and objects.
func readDocuments(r *jsonread.Reader, req *rerank.Request) {
	req.Documents = nil
	r.List(func(i int) {
		switch r.Next() {
		case '"':
			req.Documents = append(req.Documents, rerank.Document{Text: r.Text()})
		case '{':
			req.Documents = append(req.Documents, rerank.Document{Raw: r.Copy()})
		default:
			r.Raw()
			r.WrongAt("documents["+strconv.Itoa(i)+"]", "must be a string or an object")
		}
	})
}

// EncodeResponse writes the answer to a client.
func (Format) EncodeResponse(req *rerank.Request, res *rerank.Response) ([]byte, error) {
	dst := []byte{'{'}
	if res.ID != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "id"), res.ID)
	}
	dst = append(llm.AppendKey(dst, "results"), '[')
	for _, one := range res.Results {
		dst = append(llm.AppendComma(dst), `{"index":`...)
		dst = strconv.AppendInt(dst, int64(one.Index), 10)
		dst = strconv.AppendFloat(append(dst, `,"relevance_score":`...), one.Score, 'g', -1, 64)
		if req.Return {
			dst = appendDocument(llm.AppendKey(dst, "document"), &req.Documents[one.Index])
		}
		dst = append(dst, '}')
	}
	return append(appendMeta(append(dst, ']'), res.Usage), '}'), nil
}

func appendDocument(dst []byte, d *rerank.Document) []byte {
	if d.Raw != nil {
		return llm.AppendRaw(dst, d.Raw)
	}
	return append(llm.AppendString(append(dst, `{"text":`...), d.Text), '}')
}

// appendMeta appends what was used, as far as it is known.
func appendMeta(dst []byte, u llm.Usage) []byte {
	dst = append(llm.AppendKey(dst, "meta"), `{"api_version":{"version":"2"}`...)
	if u.Units.Queries > 0 {
		dst = strconv.AppendInt(append(dst, `,"billed_units":{"search_units":`...), u.Units.Queries, 10)
		dst = append(dst, '}')
	}
	if n := u.Prompt(); n > 0 {
		dst = strconv.AppendInt(append(dst, `,"tokens":{"input_tokens":`...), n, 10)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// EncodeRequest writes a request for the provider. Documents come back from the gateway, and not from
// the provider.
func (f Format) EncodeRequest(req *rerank.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "query"), req.Query)
	dst = req.AppendTexts(llm.AppendKey(dst, "documents"), "")
	if req.TopN > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, f.TopN), req.TopN, 10)
	}
	if req.MaxTokens > 0 && (f.Cuts != "" || t.Drop("max_tokens_per_doc")) {
		dst = strconv.AppendInt(llm.AppendKey(dst, "max_tokens_per_doc"), req.MaxTokens, 10)
	}
	return append(req.AppendExtra(dst, t, f.Known...), '}'), nil
}

// DecodeResponse reads an answer.
func (f Format) DecodeResponse(body []byte) (*rerank.Response, error) {
	r := rerank.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "id":
			r.Res.ID = r.Text()
		case f.Results:
			r.Each("index", "relevance_score")
		default:
			r.Raw()
		}
	})
	return r.Finish()
}
