package cohere

import (
	"errors"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
)

// Embed is the second version of Cohere's embeddings.
type Embed struct{}

// Purposes are Cohere's words; what it has none for is nearest to one that it has.
var Purposes = embed.Words{
	embed.PurposeQuery: "search_query", embed.PurposeDocument: "search_document", embed.PurposeClassification: "classification",
	embed.PurposeClustering: "clustering", embed.PurposeSimilarity: "clustering", embed.PurposeQuestion: "search_query", embed.PurposeFact: "search_query", embed.PurposeCode: "search_query",
}

// MaxTexts is how many texts one request may have.
const MaxTexts = 96

// Tokens is false: Cohere takes texts.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendString([]byte(`{"model":`), req.Model)
	return appendEmbed(dst, req, t, true)
}

// AppendEmbed appends the members that this form and Bedrock's, which has no model in the body, have
// in common. sized says whether the model makes vectors of several sizes.
func AppendEmbed(req *embed.Request, t *llm.Target, sized bool) ([]byte, error) {
	return appendEmbed([]byte{'{'}, req, t, sized)
}

func appendEmbed(dst []byte, req *embed.Request, t *llm.Target, sized bool) (_ []byte, err error) {
	if dst, err = req.AppendTexts(llm.AppendKey(dst, "texts")); err != nil {
		return nil, err
	}
	word := Purposes.Of(req.Common(), t)
	if word == "" {
		word = Purposes[embed.PurposeDocument] // models want one
	}
	dst = llm.AppendString(llm.AppendKey(dst, "input_type"), word)
	dst = append(llm.AppendKey(dst, "embedding_types"), `["float"]`...)
	if req.Dimensions > 0 && (sized || t.Drop("dimensions")) {
		dst = strconv.AppendInt(llm.AppendKey(dst, "output_dimension"), req.Dimensions, 10)
	}
	if req.Truncate != nil && req.Member("truncate") == nil {
		word := "NONE"
		if *req.Truncate {
			word = "END"
		}
		dst = llm.AppendString(llm.AppendKey(dst, "truncate"), word)
	}
	if req.User != "" && t.Drop("user") {
		dst = llm.AppendString(llm.AppendKey(dst, "user"), req.User)
	}
	return append(req.AppendExtra(dst, t, "truncate", "max_tokens", "priority"), '}'), nil
}

var errTypes = errors.New("it has no vectors of floats")

// DecodeResponse reads an answer: vectors by their type, or, of older models, alone.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		switch {
		case name != "embeddings":
			r.Raw()
		case r.Next() == '[':
			r.Vectors()
		case r.Next() == '{':
			r.Members(func(kind string) {
				if kind == "float" {
					r.Vectors()
				} else {
					r.Raw()
				}
			})
		default:
			r.Fail(errTypes)
		}
	})
	res, err := r.Finish()
	if err != nil {
		return nil, err
	}
	if u, ok := llm.ReadUsage(llm.DialectCohere, body); ok {
		res.Usage = u
	}
	return res, nil
}

// readEmbed reads what the gateway must know of an answer.
func readEmbed(body []byte) (llm.Report, error) {
	r, err := embed.Report(body, "")
	if err == nil {
		r.Usage, r.HasUsage = llm.ReadUsage(llm.DialectCohere, body)
	}
	return r, err
}
