package provider

import (
	"fmt"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	bedrockembed "github.com/conclave-llm/conclave/provider/bedrock/embeddings"
	"github.com/conclave-llm/conclave/provider/cohere"
	geminiembed "github.com/conclave-llm/conclave/provider/gemini/embeddings"
	"github.com/conclave-llm/conclave/provider/gigachat"
	"github.com/conclave-llm/conclave/provider/ollama"
	"github.com/conclave-llm/conclave/provider/openai/embeddings"
	"github.com/conclave-llm/conclave/provider/oracle"
	"github.com/conclave-llm/conclave/provider/tei"
	"github.com/conclave-llm/conclave/provider/triton"
	"github.com/conclave-llm/conclave/provider/vertex"
	"github.com/conclave-llm/conclave/provider/watsonx"
)

// EmbedInbound is the client's half of a dialect of embeddings. It does no I/O, and its methods
// may be called concurrently.
type EmbedInbound interface {
	// DecodeRequest reads a request's body. Errors are *llm.Error of kind Invalid that name the
	// field. A request has an input at least.
	DecodeRequest(body []byte) (*embed.Request, error)
	// EncodeResponse writes the answer, which has a vector for each input.
	EncodeResponse(req *embed.Request, res *embed.Response) ([]byte, error)
}

// EmbedOutbound is the provider's half of a dialect of embeddings. It does no I/O, and its methods
// may be called concurrently.
type EmbedOutbound interface {
	// Tokens says whether inputs may be tokens.
	Tokens() bool
	// EncodeRequest writes a request's body, of no more inputs than Batch says. It must not change
	// the request.
	EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error)
	// DecodeResponse reads an answer. Errors are *llm.Error of kind Upstream.
	DecodeResponse(body []byte) (*embed.Response, error)
}

// embedInbound are the dialects of embeddings that clients speak, and embedOutbound those of
// providers.
var (
	embedInbound = map[llm.Endpoint]EmbedInbound{
		llm.Embeddings:         embeddings.OpenAI,
		llm.EmbedContent:       geminiembed.Single{},
		llm.BatchEmbedContents: geminiembed.Batch{},
	}
	embedOutbound = map[llm.Endpoint]EmbedOutbound{
		llm.Embeddings:   embeddings.OpenAI,
		llm.GeminiEmbed:  geminiembed.Batch{},
		llm.VertexEmbed:  vertex.Embed{},
		llm.CohereEmbed:  cohere.Embed{},
		llm.InvokeEmbed:  bedrockembed.Invoke{},
		llm.OllamaEmbed:  ollama.Embed{},
		llm.VoyageEmbed:  embeddings.Voyage,
		llm.JinaEmbed:    embeddings.Jina,
		llm.MistralEmbed: embeddings.Mistral,
		llm.TEIEmbed:     tei.Embed{},
		llm.WatsonxEmbed: watsonx.Embed{},
		llm.GigaEmbed:    gigachat.Form,
		llm.OracleEmbed:  oracle.Embed{},
		llm.TritonEmbed:  triton.Embed{},
	}
)

// EmbedInboundOf is the client's half of an endpoint's dialect.
func EmbedInboundOf(e llm.Endpoint) (EmbedInbound, bool) {
	f, ok := embedInbound[e]
	return f, ok
}

// EmbedOutboundOf is the provider's half of an endpoint's dialect.
func EmbedOutboundOf(e llm.Endpoint) (EmbedOutbound, bool) {
	f, ok := embedOutbound[e]
	return f, ok
}

// optionBatch is the option of a deployment that says how many inputs its server takes at once.
const optionBatch = "max_batch"

// Batch is how many inputs one request for embeddings of a model may have; 0: any number. The
// deployment's option max_batch comes before what the table says.
func (p *Provider) Batch(model string, options map[string]string) (int, error) {
	if v := options[optionBatch]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("the option %s is %q, not a whole number above 0", optionBatch, v)
		}
		return n, nil
	}
	if p.BatchOf != nil {
		return p.BatchOf(model, options), nil
	}
	return p.MaxBatch, nil
}
