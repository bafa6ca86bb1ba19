package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/document"
	"github.com/conclave-llm/conclave/provider/cohere"
	"github.com/conclave-llm/conclave/provider/reducto"
	"github.com/conclave-llm/conclave/provider/textract"
)

// DocumentOutbound is the provider's half of a dialect of documents that are read. It does no I/O, and
// its methods may be called concurrently.
type DocumentOutbound interface {
	// EncodeRequest writes a request. It must not change the canonical one.
	EncodeRequest(req *document.Request, t *llm.Target) (*llm.Sent, error)
	// DecodeResponse reads an answer. Errors are *llm.Error.
	DecodeResponse(body []byte) (*document.Response, error)
}

// DocumentFollower is a DocumentOutbound that takes several requests to its answer.
type DocumentFollower interface {
	// Follow is the request after the one that body answers; nil: body is the answer.
	Follow(req *document.Request, body []byte) (*llm.Step, error)
}

// documentRows are vendors that read documents in forms of their own.
var documentRows = []Provider{
	{Name: "aws_textract", Base: "https://textract.{region}.amazonaws.com", BaseVars: []string{"AWS_TEXTRACT_API_BASE"}, Auth: SigV4, Endpoints: []llm.Endpoint{llm.TextractRead}, Codec: textract.Codec{}},
	{Name: "reducto", Base: "https://platform.reducto.ai", KeyVars: []string{"REDUCTO_API_KEY"}, BaseVars: []string{"REDUCTO_API_BASE"}, Endpoints: []llm.Endpoint{llm.ReductoParse}, Codec: reducto.Codec{}},
}

// documentOutbound are the dialects of providers beside Mistral's, which clients speak.
var documentOutbound = map[llm.Endpoint]DocumentOutbound{
	llm.TextractRead: textract.Format{},
	llm.ReductoParse: reducto.Format{},
	llm.CohereParse:  cohere.Parse{},
}

// DocumentOutboundOf is the provider's half of an endpoint's dialect.
func DocumentOutboundOf(e llm.Endpoint) (DocumentOutbound, bool) {
	f, ok := documentOutbound[e]
	return f, ok
}
