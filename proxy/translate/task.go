package translate

import (
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/rerank"
	"github.com/conclave-llm/conclave/provider"
)

// Task is a request that neither talks nor asks for vectors, read once and written for each
// deployment that is tried. It is not safe for concurrent use.
type Task interface {
	// Write writes the request for a provider's endpoint.
	Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error)
	// Follow is the request after the one that body answers; nil: body is the answer.
	Follow(body []byte) (*llm.Step, error)
	// Answer says the provider's answer in the client's dialect.
	Answer(g *Given) (*Said, error)
}

// Given is a provider's answer, and what is known of it beside its bytes. Body is what came whole;
// Raw is what comes as bytes of any kind, nil if Body came.
type Given struct {
	ID     string // of the exchange, for answers that have none of their own
	Body   []byte
	Raw    Source
	Report llm.Report // of Body
	// Complete fills in what the provider does not report of what it used.
	Complete func(u llm.Usage) llm.Usage
	Now      time.Time
}

// Said is an answer as the client wants it: Body, or Stream if there is one.
type Said struct {
	Body   []byte
	Type   string // its content type; "": JSON, or for a Raw stream what the provider says
	Usage  llm.Usage
	Stream Source
	Raw    bool // the stream's events are bytes of any kind
}

// Upload is a file of a form.
type Upload struct {
	Field      string // of the form
	Name, Type string
	Data       []byte // nil: there is none
}

// Tasks says whether requests of an endpoint of clients are tasks.
func Tasks(e llm.Endpoint) bool {
	switch e {
	case llm.Rerank, llm.Images, llm.ImageEdits, llm.ImageVariations, llm.Speech, llm.Transcriptions, llm.Translations, llm.OCR, llm.Decisions, llm.SystemOne:
		return true
	}
	return false
}

// ReadTask reads the body of a client's request, of a form its text fields and its files. Errors are
// *llm.Error of kind Invalid.
func ReadTask(e llm.Endpoint, body []byte, files ...Upload) (Task, error) {
	switch e {
	case llm.Images:
		return readDrawing(body)
	case llm.ImageEdits, llm.ImageVariations:
		return readChange(e, body, files)
	case llm.Speech:
		return readSpeaking(body)
	case llm.Transcriptions, llm.Translations:
		var file Upload
		if len(files) > 0 {
			file = files[0]
		}
		return readListening(e, body, file)
	case llm.OCR:
		return readReading(body)
	case llm.Decisions, llm.SystemOne:
		return readDeciding(e, body)
	}
	in, _ := provider.RerankInboundOf(e) // Tasks says so
	req, err := in.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	return &ranking{in: in, req: req}, nil
}

// ranking is a request for a reranking.
type ranking struct {
	in  provider.RerankInbound
	out provider.RerankOutbound
	req *rerank.Request
}

// Write implements Task.
func (r *ranking) Write(at llm.Endpoint, t *llm.Target) (*llm.Sent, error) {
	r.out, _ = provider.RerankOutboundOf(at)
	body, err := r.out.EncodeRequest(r.req, t)
	if err != nil {
		return nil, err
	}
	return &llm.Sent{Body: body}, t.Err()
}

// Follow implements Task: the first answer is the answer.
func (*ranking) Follow([]byte) (*llm.Step, error) { return nil, nil }

// Answer implements Task.
func (r *ranking) Answer(g *Given) (*Said, error) {
	res, err := r.out.DecodeResponse(g.Body)
	if err != nil {
		return nil, err
	}
	if err := res.Arrange(r.req); err != nil {
		return nil, err
	}
	if res.ID == "" {
		res.ID = g.ID
	}
	res.Usage = g.Complete(g.Report.Usage)
	body, err := r.in.EncodeResponse(r.req, res)
	return &Said{Body: body, Usage: res.Usage}, err
}
