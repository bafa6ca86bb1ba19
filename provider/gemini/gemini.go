// Package gemini reads and writes Google's generateContent: the dialect of the Gemini API and of
// Google's models on Vertex, and of the clients that speak it.
//
// Reasoning that the model signed goes back to it: signatures of Google's pass through the
// conversation's terms with a tag before them, so that no other vendor's reach Google, and those of
// other vendors pass through Google's clients in an envelope (see signature.go).
package gemini

import (
	"io"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/gemini/listen"
)

// Dialect is generateContent, of clients and of providers. It implements provider.Inbound and
// provider.Outbound.
type Dialect struct{}

// Codec is the Gemini API.
type Codec struct{}

// Path is the model's path with the verb; the model may be named with its collection
// ("models/…", "tunedModels/…") or without.
func (Codec) Path(p llm.Place) string {
	switch p.Endpoint {
	case llm.InteractionListen:
		return "/interactions"
	case llm.GeminiLive:
		return "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
	}
	return "/" + collection(p.Model) + Verb(p)
}

// RootOf is the address of an endpoint: sessions are not below the API's version.
func RootOf(e llm.Endpoint, base string) string {
	if e == llm.GeminiLive {
		return strings.TrimSuffix(base, "/v1beta")
	}
	return base
}

// LiveModel is a model's name in a session.
func LiveModel(model string) string {
	if strings.Contains(model, "/") {
		return model
	}
	return "models/" + model
}

// collection is the path of a model below the API's version.
func collection(model string) string {
	kind, name := "models", model
	for _, k := range []string{"models", "tunedModels"} {
		if len(model) > len(k)+1 && model[:len(k)] == k && model[len(k)] == '/' {
			kind, name = k, model[len(k)+1:]
		}
	}
	return kind + "/" + url.PathEscape(name)
}

// The rows of the table of providers that serve the models that do not talk.
const (
	RowImagen     = "gemini_imagen"     // draw
	RowTranscribe = "gemini_transcribe" // write audio down
)

// Row is the row that serves a model by its name, "" for that of those that talk.
func Row(model string) string {
	switch name := strings.TrimPrefix(model, "models/"); {
	case strings.HasPrefix(name, "imagen"):
		return RowImagen
	case listen.Only(name):
		return RowTranscribe
	}
	return ""
}

// Verb is what follows the model in the path, with its query. Streams are asked for as
// server-sent events.
func Verb(p llm.Place) string {
	switch {
	case p.Endpoint == llm.CountContent:
		return ":countTokens"
	case p.Endpoint == llm.GeminiEmbed:
		return ":batchEmbedContents"
	case p.Endpoint == llm.VertexEmbed || p.Endpoint == llm.ImagenImages:
		return ":predict"
	case p.Endpoint == llm.GeminiImages || p.Endpoint == llm.GeminiSpeak || p.Endpoint == llm.GeminiListen:
		return ":generateContent"
	case p.Stream:
		return ":streamGenerateContent?alt=sse"
	}
	return ":generateContent"
}

// Read reads a whole answer.
func (Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	switch e {
	case llm.CountContent:
		r, err := llm.Read(body)
		return llm.Report{HasError: r.HasError}, err // a count uses nothing
	case llm.GeminiEmbed:
		return embed.Report(body, "promptTokenCount")
	case llm.VertexEmbed:
		return embed.Report(body, "token_count")
	case llm.VertexRank:
		return embed.Report(body, "") // nobody says what it used
	case llm.ImagenImages, llm.GeminiImages, llm.GeminiSpeak, llm.GeminiListen, llm.InteractionListen, llm.GoogleListen:
		return embed.Report(body, "") // what it used is read with what it made
	}
	return read(body, new(usageText))
}

// Meter reads one stream.
func (Codec) Meter(llm.Endpoint) llm.Meter { return new(meter) }

// Frames is nil: streams are server-sent events.
func (Codec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }
