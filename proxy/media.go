package proxy

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/form"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/upstream"
)

// imagesRoute serves OpenAI's images of a text.
func imagesRoute() (*Route, error) { return openAI(llm.Images, "/images/generations") }

// imageEditsRoute serves OpenAI's changes of images, in a form.
func imageEditsRoute() (*Route, error) { return openAI(llm.ImageEdits, "/images/edits") }

// imageVariationsRoute serves OpenAI's variations of an image, in a form.
func imageVariationsRoute() (*Route, error) {
	return openAI(llm.ImageVariations, "/images/variations")
}

// speechRoute serves OpenAI's speech.
func speechRoute() (*Route, error) { return openAI(llm.Speech, "/audio/speech") }

// transcriptionsRoute serves OpenAI's transcriptions, in a form.
func transcriptionsRoute() (*Route, error) {
	return openAI(llm.Transcriptions, "/audio/transcriptions")
}

// translationsRoute serves OpenAI's translations of audio, in a form.
func translationsRoute() (*Route, error) { return openAI(llm.Translations, "/audio/translations") }

// rerankRoute serves rerankings in Cohere's form, at the paths of those who have them.
func rerankRoute() (*Route, error) {
	return inference(llm.Rerank, "/v1/rerank", "/v2/rerank", "/rerank")
}

// ocrRoute serves the text of documents in Mistral's form.
func ocrRoute() (*Route, error) { return inference(llm.OCR, "/v1/ocr", "/ocr") }

// decisionsRoute and systemOneRoute serve questions with typed answers, in OpenAI's form and in
// TypeSafe's.
func decisionsRoute() (*Route, error) { return openAI(llm.Decisions, "/decisions") }

func systemOneRoute() (*Route, error) { return inference(llm.SystemOne, "/v1/systemone", "/systemone") }

// extractionRoute serves what a text names, of the kinds asked for.
func extractionRoute() (*Route, error) {
	return inference(llm.Extraction, "/v1/extraction", "/extraction")
}

// openForm takes the body apart as a form, whose text fields are what the steps see.
func (c *Call) openForm(contentType string) error {
	f, err := form.Parse(contentType, c.buf.Bytes())
	if err != nil {
		return err
	}
	fields, err := f.JSON()
	if err != nil {
		return err
	}
	c.form = f
	return c.peek(fields)
}

// size is how many bytes the client sent.
func (c *Call) size() int {
	if c.form != nil {
		return len(c.buf.Bytes())
	}
	return len(c.body)
}

// formAt is the form with the model's name at the provider, "" for as it is: the client's own
// bytes, and what guardrails made of its texts. file gives what is sent of a file; nil: it is sent as it is.
func (c *Call) formAt(model string, file func([]byte) []byte) ([][]byte, error) {
	texts, err := c.form.Changed(c.body)
	if err != nil {
		return nil, guardFailed("A guardrail changed a form where it cannot be changed.", err)
	}
	edits := form.Edits{Model: model, Drop: c.drops(), Texts: texts, File: file}
	if e, _ := c.forcedExpiry(); e != nil {
		edits.Drop, edits.Add = slices.Concat(edits.Drop, pass.ExpiryFields), pass.ExpiryForm(e)
	}
	return c.form.Pieces(edits), nil
}

// speaksEvents says whether a request for speech wants events.
func speaksEvents(body []byte) bool {
	var speech struct {
		Format string `json:"stream_format"`
	}
	return json.Unmarshal(body, &speech) == nil && speech.Format == "sse"
}

// guardWhole asks the guardrails about a whole answer, which may be a text as it stands.
func (s *Server) guardWhole(ctx context.Context, c *Call, a *Answer) ([]byte, error) {
	if c.guards == nil || !upstream.IsText(a.Header) {
		return s.guardAfter(ctx, c, a.Body)
	}
	quoted, err := s.guardAfter(ctx, c, llm.AppendString(nil, string(a.Body)))
	if err != nil {
		return nil, err
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, guardFailed("A guardrail made an answer that is not valid.", err)
	}
	return []byte(text), nil
}
