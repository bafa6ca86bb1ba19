// Package oracle knows Oracle Cloud's generative AI: OpenAI's format for conversations, and a form of its own
// for embeddings (embedText, of 20231130), as its API reference has it.
package oracle

import (
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
)

// embedText is the path of embeddings.
const embedText = "/20231130/actions/embedText"

// MaxInputs is how many texts one request may have.
const MaxInputs = 96

// RootOf is the address of an endpoint: what has a form of its own is beside OpenAI's paths, and not
// below them.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.OracleEmbed {
		return strings.TrimSuffix(base, "/openai/v1")
	}
	return base
}

// Codec is Oracle's format.
type Codec struct{ openai.Codec }

// Path is the endpoint's path.
func (c Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.OracleEmbed {
		return embedText
	}
	return c.Codec.Path(p)
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e != llm.OracleEmbed {
		return c.Codec.Read(e, body)
	}
	r, err := embed.Report(body, "promptTokens")
	if u := counted(body); err == nil && u.Source != llm.UsageNone {
		r.Usage, r.HasUsage = u, true
	}
	return r, err
}

// Embed is the form of embeddings.
type Embed struct{}

// purposes are Oracle's words; what it has none for is nearest to one that it has.
var purposes = embed.Words{
	embed.PurposeQuery: "SEARCH_QUERY", embed.PurposeDocument: "SEARCH_DOCUMENT", embed.PurposeClassification: "CLASSIFICATION",
	embed.PurposeClustering: "CLUSTERING", embed.PurposeSimilarity: "CLUSTERING", embed.PurposeQuestion: "SEARCH_QUERY", embed.PurposeFact: "SEARCH_QUERY", embed.PurposeCode: "SEARCH_QUERY",
}

// Tokens is false: texts are taken alone.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider. A model that is named by its id as an endpoint is one of
// the customer's own machines.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	compartment := t.Options["oci_compartment_id"]
	if compartment == "" {
		return nil, llm.Unsayable("model", "The deployment needs the option oci_compartment_id.")
	}
	dst := llm.AppendString([]byte(`{"compartmentId":`), compartment)
	if strings.HasPrefix(t.Model, "ocid1.generativeaiendpoint.") {
		dst = llm.AppendString(append(llm.AppendKey(dst, "servingMode"), `{"servingType":"DEDICATED","endpointId":`...), t.Model)
	} else {
		dst = llm.AppendString(append(llm.AppendKey(dst, "servingMode"), `{"servingType":"ON_DEMAND","modelId":`...), t.Model)
	}
	dst, err := req.AppendTexts(llm.AppendKey(append(dst, '}'), "inputs"))
	if err != nil {
		return nil, err
	}
	if word := purposes.Of(req.Common(), t); word != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "inputType"), word)
	}
	truncate := "END"
	if req.Truncate != nil && !*req.Truncate {
		truncate = "NONE"
	}
	dst = llm.AppendString(llm.AppendKey(dst, "truncate"), truncate)
	if req.Dimensions > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "outputDimensions"), req.Dimensions, 10)
	}
	if req.User != "" {
		t.Drop("user")
	}
	return append(req.AppendExtra(dst, t), '}'), nil
}

// DecodeResponse reads an answer.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "modelId":
			r.Res.Model = r.Text()
		case "embeddings":
			r.Vectors()
		default:
			r.Raw()
		}
	})
	res, err := r.Finish()
	if err != nil {
		return nil, err
	}
	if u := counted(body); u.Source != llm.UsageNone {
		res.Usage = u
	} else if rep, err := embed.Report(body, "promptTokens"); err == nil {
		res.Usage = rep.Usage
	}
	return res, nil
}

// counted is the sum of the tokens of the inputs; its Source is UsageNone if nobody counted them.
func counted(body []byte) (u llm.Usage) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "inputTextTokenCounts" || c.Next() != '[' {
			c.Raw()
			continue
		}
		for i := 0; c.Element(i); i++ {
			if v, ok := c.Int(); ok && v >= 0 && v <= llm.MaxTokenCount {
				u.Input = min(u.Input+v, llm.MaxTokenCount)
				u.Source = llm.UsageProvider
			}
		}
	}
	return u
}
