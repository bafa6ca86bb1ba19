package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/a2a"
	"github.com/conclave-llm/conclave/provider/alephalpha"
	"github.com/conclave-llm/conclave/provider/anthropic"
	"github.com/conclave-llm/conclave/provider/anthropic/completions"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/provider/bytez"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/provider/cohere"
	"github.com/conclave-llm/conclave/provider/fal"
	"github.com/conclave-llm/conclave/provider/fim"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/gigachat"
	"github.com/conclave-llm/conclave/provider/langflow"
	"github.com/conclave-llm/conclave/provider/langgraph"
	"github.com/conclave-llm/conclave/provider/m365"
	"github.com/conclave-llm/conclave/provider/manus"
	"github.com/conclave-llm/conclave/provider/nlpcloud"
	"github.com/conclave-llm/conclave/provider/ollama"
	"github.com/conclave-llm/conclave/provider/openai"
	"github.com/conclave-llm/conclave/provider/petals"
	"github.com/conclave-llm/conclave/provider/predibase"
	"github.com/conclave-llm/conclave/provider/replicate"
	"github.com/conclave-llm/conclave/provider/sagemaker"
	"github.com/conclave-llm/conclave/provider/triton"
	"github.com/conclave-llm/conclave/provider/watsonx"
)

// Inbound is the client's half of a dialect: requests are read, answers are written. It does no
// I/O, and its methods may be called concurrently.
type Inbound interface {
	// DecodeRequest reads a request's body. Errors are *llm.Error of kind Invalid that name the
	// field. What stands in the path instead of the body (model, stream) is set by the caller.
	// Media of the request may share the body's bytes, which must not change while it is in use.
	DecodeRequest(body []byte) (*chat.Request, error)
	// EncodeResponse writes a whole answer to the request.
	EncodeResponse(req *chat.Request, res *chat.Response) ([]byte, error)
	// NewEncoder writes one stream that answers the request.
	NewEncoder(req *chat.Request) chat.Encoder
}

// Outbound is the provider's half of a dialect: requests are written, answers are read. It does
// no I/O, and its methods may be called concurrently.
type Outbound interface {
	// EncodeRequest writes a request's body. It must not change the request, which may be
	// written again for another deployment.
	EncodeRequest(req *chat.Request, t *llm.Target) ([]byte, error)
	// DecodeResponse reads a whole answer. Errors are *llm.Error of kind Upstream.
	DecodeResponse(body []byte) (*chat.Response, error)
	// NewDecoder reads one stream.
	NewDecoder() chat.Decoder
}

// Follower is an Outbound that takes several requests to its answer.
type Follower interface {
	// Follow is the request after the one that body answers; nil: body is the answer. Errors are
	// *llm.Error of kind Upstream.
	Follow(body []byte) (*llm.Step, error)
}

// Opener is an Outbound whose exchange may begin with other requests than the one that asks, such as those that
// bring its files.
type Opener interface {
	// Open is the first request of an exchange, of which Method, Path and Body count, for what EncodeRequest
	// wrote to go to p, and what follows each answer, which is for this exchange alone; a nil step: body is
	// the first. Errors are *llm.Error.
	Open(p llm.Place, body []byte) (first *llm.Step, next func(body []byte) (*llm.Step, error), err error)
}

// Infiller is an Outbound whose requests may say what follows the text that is to be completed. To all
// others a request with a suffix is not sent: its answer would be to another question.
type Infiller interface{ Infills() }

// inbound are the dialects that clients speak, and outbound those of providers: one line for
// each endpoint whose requests can be translated.
var (
	inbound = map[llm.Endpoint]Inbound{
		llm.Chat:            openai.Chat{},
		llm.Completions:     openai.Completions{},
		llm.Responses:       openai.Responses{},
		llm.Messages:        anthropic.Format{},
		llm.GenerateContent: gemini.Dialect{},
		llm.Converse:        bedrock.Format{},
		llm.Invoke:          bedrock.Invoked{},
	}
	outbound = map[llm.Endpoint]Outbound{
		llm.Chat:              openai.Chat{},
		llm.Completions:       openai.Completions{},
		llm.Responses:         openai.Responses{},
		llm.Messages:          anthropic.Format{},
		llm.GenerateContent:   gemini.Dialect{},
		llm.Converse:          bedrock.Format{},
		llm.CohereChat:        cohere.Chat{},
		llm.OllamaChat:        ollama.Chat{},
		llm.WatsonxChat:       watsonx.Chat{},
		llm.TritonChat:        triton.Chat{},
		llm.ReplicateChat:     replicate.Chat{},
		llm.NLPCloudChat:      nlpcloud.Chat{},
		llm.PredibaseChat:     predibase.Chat{},
		llm.GigaChat:          gigachat.Chat{},
		llm.FIMCompletions:    fim.Format{},
		llm.SageMakerText:     sagemaker.Text{},
		llm.WatsonxText:       watsonx.Text{},
		llm.AlephAlphaChat:    alephalpha.New(),
		llm.AnthropicComplete: completions.New(),
		llm.BytezChat:         bytez.New(),
		llm.LangGraphRun:      langgraph.New(),
		llm.LangflowRun:       langflow.New(),
		llm.A2AMessage:        a2a.New(),
		llm.FalChat:           fal.Chat{},
		llm.ChatGPTResponses:  chatgpt.Format{},
		llm.PetalsGenerate:    petals.New(),
		llm.ManusTask:         manus.New(),
		llm.M365Chat:          m365.New(),
	}
)

// InboundOf is the client's half of an endpoint's dialect.
func InboundOf(e llm.Endpoint) (Inbound, bool) {
	f, ok := inbound[e]
	return f, ok
}

// OutboundOf is the provider's half of an endpoint's dialect.
func OutboundOf(e llm.Endpoint) (Outbound, bool) {
	f, ok := outbound[e]
	return f, ok
}

// Templates says whether requests for e can be sent to the provider's completions, as the text that
// a prompt template makes of a conversation.
func (p *Provider) Templates(e llm.Endpoint) bool {
	return e != llm.Completions && e.Family() == llm.Completions.Family() && read(e) && p.Serves(llm.Completions)
}

// Way is the endpoint at which the provider serves requests for e: e itself, which is relayed,
// else the first of its endpoints into which they can be translated. false: there is none.
func (p *Provider) Way(e llm.Endpoint) (at llm.Endpoint, ok bool) {
	if p.Serves(e) {
		return e, true
	}
	return p.Translation(e)
}

// Translation is the endpoint into which requests for e can be translated, leaving out e itself.
func (p *Provider) Translation(e llm.Endpoint) (at llm.Endpoint, ok bool) {
	if !read(e) {
		return 0, false
	}
	for _, at := range p.Endpoints {
		if at != e && at.Family() == e.Family() && written(at) && sameMedium(e, at) {
			return at, true
		}
	}
	return 0, false
}

// read says whether requests of clients for e can be read.
func read(e llm.Endpoint) bool {
	_, talks := inbound[e]
	_, embeds := embedInbound[e]
	_, ranks := rerankInbound[e]
	_, counts := counted[e]
	_, decides := decisionInbound[e]
	switch e {
	case llm.Images, llm.ImageEdits, llm.ImageVariations, llm.Speech, llm.Transcriptions, llm.Translations, llm.OCR, llm.Realtime:
		return true
	}
	return talks || embeds || ranks || counts || decides
}

// written says whether requests for e can be written for a provider.
func written(e llm.Endpoint) bool {
	_, talks := outbound[e]
	_, embeds := embedOutbound[e]
	_, ranks := rerankOutbound[e]
	_, scans := documentOutbound[e]
	_, counts := countOutbound[e]
	_, decides := decisionOutbound[e]
	return talks || embeds || ranks || scans || counts || decides || draws(e) || speaks(e) || listens(e) || converses(e)
}

// converses says whether sessions of clients can be held at e in a provider's own words.
func converses(e llm.Endpoint) bool { return e.Family() == llm.FamilySession && e != llm.Realtime }
