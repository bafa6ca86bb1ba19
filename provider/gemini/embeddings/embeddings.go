// Package embeddings reads and writes Google's embeddings: embedContent and batchEmbedContents of
// clients, and batchEmbedContents of the Gemini API.
package embeddings

import (
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// MaxRequests is how many contents one request may have.
const MaxRequests = 100

// origin is whose contents are that have parts beside texts.
const origin = "google"

// Purposes are Google's words.
var Purposes = embed.Words{
	embed.PurposeQuery: "RETRIEVAL_QUERY", embed.PurposeDocument: "RETRIEVAL_DOCUMENT", embed.PurposeSimilarity: "SEMANTIC_SIMILARITY",
	embed.PurposeClassification: "CLASSIFICATION", embed.PurposeClustering: "CLUSTERING", embed.PurposeQuestion: "QUESTION_ANSWERING",
	embed.PurposeFact: "FACT_VERIFICATION", embed.PurposeCode: "CODE_RETRIEVAL_QUERY",
}

// Single is embedContent, of clients.
type Single struct{}

// DecodeRequest reads a client's request.
func (Single) DecodeRequest(body []byte) (*embed.Request, error) {
	r, req := jsonread.New(body), new(embed.Request)
	req.Inputs = []embed.Input{{}}
	content := entry(&r, req)
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if !content {
		return nil, jsonread.Invalid("content", "must be there")
	}
	return req, nil
}

// EncodeResponse writes the answer to a client.
func (Single) EncodeResponse(_ *embed.Request, res *embed.Response) ([]byte, error) {
	dst := appendValues([]byte(`{"embedding":`), res.Vectors[0])
	return append(appendUsage(dst, res), '}'), nil
}

// Batch is batchEmbedContents, of clients and of the Gemini API.
type Batch struct{}

// DecodeRequest reads a client's request.
func (Batch) DecodeRequest(body []byte) (*embed.Request, error) {
	r, req := jsonread.New(body), new(embed.Request)
	whole := true
	r.Members(func(name string) {
		if name != "requests" {
			r.Raw()
			return
		}
		r.List(func(int) {
			req.Inputs = append(req.Inputs, embed.Input{})
			whole = entry(&r, req) && whole
		})
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	switch {
	case len(req.Inputs) == 0:
		return nil, jsonread.Invalid("requests", "must not be empty")
	case !whole:
		return nil, jsonread.Invalid("requests", "must have a content each")
	}
	return req, nil
}

// entry reads the request for one content into the last input. It says whether there is one.
func entry(r *jsonread.Reader, req *embed.Request) (content bool) {
	if r.Next() != '{' {
		r.WrongAt(strings.TrimSuffix(r.Prefix, "."), "must be an object")
	}
	in := &req.Inputs[len(req.Inputs)-1]
	r.Members(func(name string) {
		switch name {
		case "model":
			r.Str()
		case "content":
			readContent(r, in)
			content = true
		case "taskType", "task_type":
			word := r.Str()
			p, ok := embed.ParsePurpose(word)
			if !ok && word != "" && word != "TASK_TYPE_UNSPECIFIED" {
				r.Wrong("is no known type of task")
			}
			in.Purpose = p
		case "title":
			in.Title = r.Str()
		case "outputDimensionality", "output_dimensionality":
			readSize(r, req)
		case "embedContentConfig", "embed_content_config":
			readConfig(r, req, in)
		default:
			raw := r.Copy()
			if raw != nil && req.Member(name) == nil {
				req.Extra = append(req.Extra, llm.Member{Name: name, Value: raw})
			}
		}
	})
	return content
}

// readConfig reads what later versions of the API have in an object of its own.
func readConfig(r *jsonread.Reader, req *embed.Request, in *embed.Input) {
	r.Object(func(name string) {
		switch name {
		case "taskType":
			in.Purpose, _ = embed.ParsePurpose(r.Str())
		case "title":
			in.Title = r.Str()
		case "outputDimensionality":
			readSize(r, req)
		case "autoTruncate":
			req.Truncate = r.Flag()
		default:
			r.Raw()
		}
	})
}

// readSize reads how long a vector is to be. All of one request are of one size elsewhere.
func readSize(r *jsonread.Reader, req *embed.Request) {
	n := r.Count()
	if req.Dimensions != 0 && n != req.Dimensions {
		r.Wrong("must be the same for all")
	}
	req.Dimensions = n
}

// readContent reads a content: its texts, or the whole of it if it has parts of another kind.
func readContent(r *jsonread.Reader, in *embed.Input) {
	var texts []string
	other := false
	before := r.Cursor
	raw := before.Copy()
	if r.Next() == '"' { // some clients write a text
		in.Text = r.Text()
		return
	}
	r.Object(func(name string) {
		if name != "parts" {
			r.Raw()
			return
		}
		if r.Next() == '{' { // of one part
			part(r, &texts, &other)
			return
		}
		r.List(func(int) { part(r, &texts, &other) })
	})
	if in.Text = strings.Join(texts, "\n"); other {
		in.Text, in.Raw, in.Origin = "", raw, origin
	}
}

func part(r *jsonread.Reader, texts *[]string, other *bool) {
	r.Entry(func(name string) {
		if name == "text" {
			*texts = append(*texts, r.Str())
			return
		}
		*other = true
		r.Raw()
	})
}

// EncodeResponse writes the answer to a client.
func (Batch) EncodeResponse(_ *embed.Request, res *embed.Response) ([]byte, error) {
	dst := []byte(`{"embeddings":[`)
	for _, v := range res.Vectors {
		dst = appendValues(llm.AppendComma(dst), v)
	}
	return append(appendUsage(append(dst, ']'), res), '}'), nil
}

func appendValues(dst []byte, v embed.Vector) []byte {
	return append(v.AppendFloats(append(dst, `{"values":`...)), '}')
}

func appendUsage(dst []byte, res *embed.Response) []byte {
	n := res.Usage.Prompt()
	dst = strconv.AppendInt(append(dst, `,"usageMetadata":{"promptTokenCount":`...), n, 10)
	return append(strconv.AppendInt(append(dst, `,"totalTokenCount":`...), n, 10), '}')
}

// Tokens is false: Google takes texts.
func (Batch) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Batch) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	model := req.Model
	if !strings.Contains(model, "/") {
		model = "models/" + model
	}
	if req.User != "" {
		t.Drop("user")
	}
	if req.Truncate != nil {
		t.Drop("autoTruncate")
	}
	dst := []byte(`{"requests":[`)
	for i := range req.Inputs {
		in := &req.Inputs[i]
		dst = llm.AppendString(append(llm.AppendComma(dst), `{"model":`...), model)
		dst = llm.AppendKey(dst, "content")
		if in.Raw != nil && in.Origin == origin {
			dst = llm.AppendRaw(dst, in.Raw)
		} else {
			if err := in.OnlyText(i); err != nil {
				return nil, err
			}
			dst = append(llm.AppendString(append(dst, `{"parts":[{"text":`...), in.Text), "}]}"...)
		}
		if word := Purposes.Of(req.PurposeOf(in), t); word != "" {
			dst = llm.AppendString(llm.AppendKey(dst, "taskType"), word)
		}
		if in.Title != "" {
			dst = llm.AppendString(llm.AppendKey(dst, "title"), in.Title)
		}
		if req.Dimensions > 0 {
			dst = strconv.AppendInt(llm.AppendKey(dst, "outputDimensionality"), req.Dimensions, 10)
		}
		dst = append(req.AppendExtra(dst, t), '}')
	}
	return append(dst, "]}"...), nil
}

var errSingle = errors.New("an embedding is no object")

// DecodeResponse reads an answer.
func (Batch) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "embeddings":
			r.Each(func(name string) {
				if name == "values" {
					r.Vector()
				} else {
					r.Raw()
				}
			})
		case "usageMetadata":
			if r.Next() != '{' {
				r.Fail(errSingle)
			}
			r.Members(func(name string) {
				if name == "promptTokenCount" {
					r.Used()
				} else {
					r.Raw()
				}
			})
		default:
			r.Raw()
		}
	})
	return r.Finish()
}
