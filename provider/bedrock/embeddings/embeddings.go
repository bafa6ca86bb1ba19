// Package embeddings reads and writes the embeddings of the models at Amazon Bedrock, each maker's
// in its own words: Amazon's Titan and Nova, and Cohere's.
package embeddings

import (
	"errors"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/cohere"
)

// Invoke is what InvokeModel takes and gives.
type Invoke struct{}

// maker is whose words a model speaks.
type maker uint8

const (
	unknown maker = iota
	titan1
	titan2
	titanImage
	nova
	cohere3
	cohere4
)

// makers are known by what a model's name has in it, the first that fits.
var makers = []struct {
	part string
	maker
}{
	{"titan-embed-text-v1", titan1},
	{"titan-embed-g1-text", titan1},
	{"titan-embed-image", titanImage},
	{"titan-embed-text", titan2},
	{"nova", nova},
	{"cohere.embed-english-v3", cohere3},
	{"cohere.embed-multilingual-v3", cohere3},
	{"cohere.embed", cohere4},
}

// makerOf finds the maker. An ARN that does not name the model needs the option "base_model" beside it.
func makerOf(model string, options map[string]string) maker {
	if base := options["base_model"]; base != "" {
		model = base
	}
	model = strings.ToLower(model)
	for _, m := range makers {
		if strings.Contains(model, m.part) {
			return m.maker
		}
	}
	return unknown
}

// MaxBatch is how many texts a model takes at once.
func MaxBatch(model string, options map[string]string) int {
	switch makerOf(model, options) {
	case cohere3, cohere4:
		return cohere.MaxTexts
	}
	return 1
}

// Tokens is false: the models take texts.
func (Invoke) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Invoke) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	m := makerOf(req.Model, t.Options)
	switch m {
	case unknown:
		return nil, llm.Unsayable("model", "It is not known whose embeddings the model makes. Name it in the deployment's option base_model.")
	case cohere3, cohere4:
		return cohere.AppendEmbed(req, t, m == cohere4)
	}
	if len(req.Inputs) != 1 {
		return nil, llm.Unsayable("input", "The model takes one text at a time.")
	}
	in := &req.Inputs[0]
	if err := in.OnlyText(0); err != nil {
		return nil, err
	}
	if req.User != "" {
		t.Drop("user")
	}
	if m == nova {
		return encodeNova(req, in, t), nil
	}
	if req.Common() != embed.PurposeUnsaid {
		t.Drop("input_type")
	}
	return encodeTitan(req, in, t, m), nil
}

// encodeTitan writes the words of Titan.
func encodeTitan(req *embed.Request, in *embed.Input, t *llm.Target, m maker) []byte {
	dst := llm.AppendString([]byte(`{"inputText":`), in.Text)
	if n := req.Dimensions; n > 0 {
		switch {
		case m == titanImage:
			dst = strconv.AppendInt(append(dst, `,"embeddingConfig":{"outputEmbeddingLength":`...), n, 10)
			dst = append(dst, '}')
		case m == titan2 || t.Drop("dimensions"):
			dst = strconv.AppendInt(append(dst, `,"dimensions":`...), n, 10)
		}
	}
	if m == titan2 {
		return append(req.AppendExtra(dst, t, "normalize"), '}')
	}
	return append(req.AppendExtra(dst, t), '}')
}

// novaPurposes are Nova's words.
var novaPurposes = embed.Words{
	embed.PurposeUnsaid: "GENERIC_INDEX", embed.PurposeDocument: "GENERIC_INDEX", embed.PurposeQuery: "TEXT_RETRIEVAL",
	embed.PurposeQuestion: "TEXT_RETRIEVAL", embed.PurposeFact: "TEXT_RETRIEVAL", embed.PurposeCode: "TEXT_RETRIEVAL",
	embed.PurposeClassification: "CLASSIFICATION", embed.PurposeClustering: "CLUSTERING", embed.PurposeSimilarity: "CLUSTERING",
}

// encodeNova writes the words of Nova.
func encodeNova(req *embed.Request, in *embed.Input, t *llm.Target) []byte {
	dst := []byte(`{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":`)
	dst = llm.AppendString(dst, novaPurposes.Of(req.PurposeOf(in), t))
	if req.Dimensions > 0 {
		dst = strconv.AppendInt(append(dst, `,"embeddingDimension":`...), req.Dimensions, 10)
	}
	mode := "END"
	if req.Truncate != nil && !*req.Truncate {
		mode = "NONE"
	}
	dst = append(append(dst, `,"text":{"truncationMode":"`...), mode...)
	dst = append(llm.AppendString(append(dst, `","value":`...), in.Text), "}}"...)
	return append(req.AppendExtra(dst, t), '}')
}

var errKind = errors.New("embeddings are of no known kind")

// DecodeResponse reads an answer in the words of any of the makers.
func (Invoke) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "embedding":
			r.Vector()
		case "inputTextTokenCount":
			r.Used()
		case "embeddings":
			readEmbeddings(r)
		default:
			r.Raw()
		}
	})
	return r.Finish()
}

// readEmbeddings reads vectors alone, by their type, or in objects.
func readEmbeddings(r *embed.Reader) {
	switch r.Next() {
	case '{':
		r.Members(func(kind string) {
			if kind == "float" {
				r.Vectors()
			} else {
				r.Raw()
			}
		})
	case '[':
		inner := r.Cursor
		if inner.Element(0) && inner.Next() == '{' {
			r.Each(func(name string) {
				if name == "embedding" {
					r.Vector()
				} else {
					r.Raw()
				}
			})
			return
		}
		r.Vectors()
	default:
		r.Fail(errKind)
	}
}
