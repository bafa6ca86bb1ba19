// Package vertex knows where models are at Google's Vertex: Google's own, which speak
// generateContent, and those of other makers, who speak their own dialects there.
package vertex

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/gemini"
	"github.com/conclave-llm/conclave/provider/gemini/listen"
	"github.com/conclave-llm/conclave/provider/openai"
)

// The rows of the table of providers that serve the models of other makers.
const (
	RowAnthropic = "vertex_ai_anthropic" // publishers/anthropic, in Anthropic's dialect
	RowMistral   = "vertex_ai_mistral"   // publishers/mistralai, in OpenAI's dialect
	RowImagen    = "vertex_ai_imagen"    // Google's own that draw and do not talk
	RowSpeech    = "vertex_ai_speech"    // those of its Speech-to-Text
	RowOpenAI    = "vertex_ai_openai"    // all makers of Model Garden's API in OpenAI's dialect
)

// Rows are all of them.
var Rows = []string{RowAnthropic, RowMistral, RowImagen, RowSpeech, RowOpenAI}

// Version is the member anthropic_version, which Anthropic's models want in the body there.
const Version = "vertex-2023-10-16"

// Base is the template of the address for the options of a deployment, up to the project's
// location. Without a project it is that of express mode, which has keys.
func Base(options map[string]string) string {
	const project = "/v1/projects/{project}/locations/{location}"
	switch location := options["location"]; {
	case location == "" && options["project"] == "":
		return "https://aiplatform.googleapis.com/v1"
	case location == "global":
		return "https://aiplatform.googleapis.com" + project
	case location == "us" || location == "eu": // of several regions
		return "https://aiplatform.{location}.rep.googleapis.com" + project
	}
	return "https://{location}-aiplatform.googleapis.com" + project
}

// SpeechBase is the template of the address of Speech-to-Text for the options of a deployment.
func SpeechBase(options map[string]string) string {
	const project = "speech.googleapis.com/v2/projects/{project}/locations/"
	switch options["location"] {
	case "":
		return "https://us-" + project + "us"
	case "global":
		return "https://" + project + "global"
	}
	return "https://{location}-" + project + "{location}"
}

// Row is the row that serves a model by its name at Vertex, "" for that of Google's own models.
// Names of the API in OpenAI's dialect name their maker: "meta/llama-4-maverick-17b-128e-instruct-maas".
func Row(model string) string {
	maker, _, named := strings.Cut(model, "/")
	switch {
	case strings.HasPrefix(model, "imagen"):
		return RowImagen
	case strings.HasPrefix(model, "chirp_"):
		return RowSpeech
	case strings.HasPrefix(model, "claude"):
		return RowAnthropic
	case strings.HasPrefix(model, "mistral"), strings.HasPrefix(model, "codestral"), strings.HasPrefix(model, "ministral"):
		if named {
			return RowOpenAI
		}
		return RowMistral
	case !named, maker == "google", maker == "models", maker == "endpoints", maker == "publishers", maker == "tunedModels":
		return ""
	}
	return RowOpenAI
}

// Google is generateContent at Vertex.
type Google struct{ gemini.Codec }

// Path is the model's path with the verb: that of a publisher's model, or of an endpoint on which a
// tuned model is deployed ("endpoints/ID", or its number alone).
func (Google) Path(p llm.Place) string {
	switch p.Endpoint {
	case llm.VertexRank:
		return rankPath
	case llm.GoogleListen:
		return listen.RecognizePath
	case llm.GeminiLive:
		return "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"
	}
	name := strings.TrimPrefix(p.Model, "google/")
	if id := strings.TrimPrefix(name, "endpoints/"); id != name || isNumber(id) {
		return "/endpoints/" + url.PathEscape(id) + gemini.Verb(p)
	}
	publisher := "google"
	if rest, ok := strings.CutPrefix(name, "publishers/"); ok {
		publisher, name, _ = strings.Cut(rest, "/models/")
	}
	return model(publisher, strings.TrimPrefix(name, "models/")) + gemini.Verb(p)
}

// LiveModel is a model's name in a session, for the options of the deployment.
func LiveModel(name string, options map[string]string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "google/"), "models/")
	if strings.Contains(name, "/") {
		return name
	}
	if options["project"] == "" {
		return "publishers/google/models/" + name
	}
	return "projects/" + options["project"] + "/locations/" + options["location"] + "/publishers/google/models/" + name
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func model(publisher, name string) string {
	return "/publishers/" + url.PathEscape(publisher) + "/models/" + url.PathEscape(name)
}

// Codec is a dialect that is spoken at Vertex as elsewhere, but for the path.
type Codec interface {
	Read(e llm.Endpoint, body []byte) (llm.Report, error)
	Meter(e llm.Endpoint) llm.Meter
	Frames(e llm.Endpoint, src io.Reader, max int) llm.EventReader
	Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error
}

// Partner is another maker's dialect, asked with rawPredict.
type Partner struct {
	Codec
	Publisher string
}

// Path is that of the publisher's model.
func (c Partner) Path(p llm.Place) string {
	verb := ":rawPredict"
	if p.Stream {
		verb = ":streamRawPredict"
	}
	return model(c.Publisher, p.Model) + verb
}

// Classify makes the error of an answer: Google's where Vertex itself refuses.
func (c Partner) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return classify(c.Codec, now, status, h, body)
}

// OpenAI is the API in OpenAI's dialect, which has one path for all models.
type OpenAI struct{ openai.Codec }

// Path is the same for all models: the name stands in the body.
func (OpenAI) Path(llm.Place) string { return "/endpoints/openapi/chat/completions" }

// Classify makes the error of an answer: Google's where Vertex itself refuses.
func (c OpenAI) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return classify(c.Codec, now, status, h, body)
}

// classify takes an error of Google's form, which Vertex sends in the place of the model's server,
// for Google's. What it says must not be relayed as if it were in the model's dialect.
func classify(c Codec, now time.Time, status int, h http.Header, body []byte) *llm.Error {
	if !gemini.IsError(body) {
		return c.Classify(now, status, h, body)
	}
	e := gemini.Codec{}.Classify(now, status, h, body)
	e.Body = nil
	return e
}
