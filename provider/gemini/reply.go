package gemini

import (
	"cmp"
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// finishReason is Google's word for why a model stopped.
func finishReason(f chat.Finish) string {
	switch f {
	case chat.FinishLength, chat.FinishOverflow:
		return "MAX_TOKENS"
	case chat.FinishFilter, chat.FinishRefusal:
		return "SAFETY"
	}
	return "STOP"
}

// EncodeResponse implements provider.Inbound.
func (Dialect) EncodeResponse(req *chat.Request, res *chat.Response) ([]byte, error) {
	w := writer{first: true}
	w.open('{')
	w.member("candidates")
	w.open('[')
	for i := range res.Choices {
		w.choice(&res.Choices[i])
	}
	w.close(']')
	w.usage(&res.Usage)
	w.head(res.ID, cmp.Or(res.Model, req.Model))
	w.close('}')
	return w.out, nil
}

// choice writes a candidate.
func (w *writer) choice(ch *chat.Choice) {
	w.element('{')
	w.member("content")
	w.open('{')
	w.member("parts")
	w.open('[')
	for j := range ch.Parts {
		w.part(&ch.Parts[j])
	}
	w.close(']')
	w.member("role").str("model")
	w.close('}')
	w.member("finishReason").str(finishReason(ch.Finish))
	w.member("index").integer(int64(ch.Index))
	var end choiceEnd
	for j := range ch.Parts {
		end.cite(ch.Parts[j].Citations)
	}
	if len(end.citations) > 0 {
		w.member("groundingMetadata").json(end.grounding(chat.Text(ch.Parts)))
	}
	if len(ch.LogProbs) > 0 {
		w.member("logprobsResult").json(appendProbs(nil, ch.LogProbs))
	}
	w.close('}')
}

// head writes the members that name an answer.
func (w *writer) head(id, model string) {
	if model != "" {
		w.member("modelVersion").str(model)
	}
	if id != "" {
		w.member("responseId").str(id)
	}
}

// usage writes usageMetadata, unless nothing is known.
func (w *writer) usage(u *llm.Usage) {
	if u.Source == llm.UsageNone {
		return
	}
	w.member("usageMetadata")
	w.open('{')
	w.member("promptTokenCount").integer(u.Prompt())
	w.member("candidatesTokenCount").integer(u.Completion() - u.Reasoning)
	w.member("totalTokenCount").integer(u.Total())
	cached := u.CacheRead + u.CacheReadAudio + u.CacheReadImage
	if cached > 0 {
		w.member("cachedContentTokenCount").integer(cached)
	}
	if u.Reasoning > 0 {
		w.member("thoughtsTokenCount").integer(u.Reasoning)
	}
	audio, image := u.AudioInput+u.CacheReadAudio, u.ImageInput+u.CacheReadImage
	w.modalities("promptTokensDetails", u.Prompt()-audio-image, audio, image)
	w.modalities("cacheTokensDetails", u.CacheRead, u.CacheReadAudio, u.CacheReadImage)
	w.modalities("candidatesTokensDetails", u.Output, u.AudioOutput, u.ImageOutput)
	w.close('}')
}

// modalities writes a list of tokens by modality.
func (w *writer) modalities(name string, text, audio, image int64) {
	if text+audio+image == 0 {
		return
	}
	w.member(name)
	w.open('[')
	for _, m := range []struct {
		name string
		n    int64
	}{{"TEXT", text}, {"AUDIO", audio}, {"IMAGE", image}} {
		if m.n > 0 {
			w.element('{')
			w.member("modality").str(m.name)
			w.member("tokenCount").integer(m.n)
			w.close('}')
		}
	}
	w.close(']')
}

// part writes a part of an answer. What Google has no word for is left out.
func (w *writer) part(p *chat.Part) {
	switch p.Type {
	case chat.PartText, chat.PartRefusal:
		w.text(p.Text, false)
	case chat.PartReasoning:
		if p.Text != "" {
			w.text(p.Text, true)
		}
		if s := toClient(p.Signature, p.Data); s != "" {
			w.signature(s)
		}
	case chat.PartToolCall:
		w.call(p.ID, p.Name, p.Arguments, p.Signature)
	case chat.PartImage, chat.PartAudio, chat.PartVideo, chat.PartFile:
		w.media(p.Media)
	case chat.PartOther:
		if p.Origin == origin {
			w.sep()
			w.json(p.Raw)
		}
	}
}

func (w *writer) text(s string, thought bool) {
	w.element('{')
	w.member("text").str(s)
	if thought {
		w.member("thought").raw("true")
	}
	w.close('}')
}

func (w *writer) signature(s string) {
	w.element('{')
	w.member("text").str("")
	w.member("thoughtSignature").str(s)
	w.close('}')
}

func (w *writer) call(id, name string, args []byte, signature string) {
	w.element('{')
	w.member("functionCall")
	w.open('{')
	if id != "" {
		w.member("id").str(id)
	}
	w.member("name").str(name)
	w.member("args").json(object(args))
	w.close('}')
	if signature != "" {
		w.member("thoughtSignature").str(signature)
	}
	w.close('}')
}

// object is the arguments of a call as the object that Google wants: what a model wrote that is
// none stands in it as a text.
func object(args []byte) []byte {
	if len(args) == 0 {
		return []byte("{}")
	}
	var o map[string]json.RawMessage
	if json.Unmarshal(args, &o) == nil && o != nil {
		return args
	}
	return append(llm.AppendString([]byte(`{"arguments":`), string(args)), '}')
}

func (w *writer) media(m *chat.Media) {
	if m == nil {
		return
	}
	w.element('{')
	if m.Data != "" {
		w.member("inlineData")
		w.open('{')
		w.member("mimeType").str(m.MIME)
		w.member("data").data(m.Data)
	} else {
		w.member("fileData")
		w.open('{')
		w.member("mimeType").str(m.MIME)
		w.member("fileUri").str(m.URL)
	}
	w.close('}')
	w.close('}')
}
