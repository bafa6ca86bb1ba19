// Package azure knows where Azure's services of OpenAI's models and of Foundry's are, and how they
// refuse. What is asked and answered there is OpenAI's format, which package openai reads.
package azure

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/azure/pictures"
	"github.com/conclave-llm/conclave/provider/openai"
)

// The versions of the API for deployments that name none in their option api_version.
const (
	DefaultVersion   = "2025-02-01-preview"
	FoundryVersion   = "2024-05-01-preview" // of Foundry's own paths
	foundryHost      = ".services.ai.azure.com"
	deploymentsPath  = "/openai/deployments/"
	versionedOpenAI  = "/openai/v1"
	versionParameter = "?api-version="
)

// operations are the names of the endpoints in Azure's paths.
var operations = map[llm.Endpoint]string{
	llm.Chat: "/chat/completions", llm.Completions: "/completions", llm.Embeddings: "/embeddings", llm.Responses: "/responses",
	llm.InputTokens: "/responses/input_tokens", llm.Images: "/images/generations", llm.ImageEdits: "/images/edits",
	llm.Speech: "/audio/speech", llm.Transcriptions: "/audio/transcriptions", llm.Translations: "/audio/translations",
}

// Codec is OpenAI's format at Azure OpenAI: the model is the name of a deployment there.
type Codec struct{ openai.Codec }

// Path is below the deployment, with the version of the API. The option api_version "v1",
// "preview" or "latest", or an address that ends in /openai/v1, means the paths that are OpenAI's
// own. An address that names the deployment already is taken as it is.
func (Codec) Path(p llm.Place) string {
	if p.Endpoint == llm.Realtime {
		return session(p)
	}
	op, version := operations[p.Endpoint], p.Options["api_version"]
	if path, ok := versioned(p.Base, version, op); ok {
		return path
	}
	if version == "" {
		version = DefaultVersion
	}
	query := versionParameter + url.QueryEscape(version)
	switch {
	case strings.Contains(p.Base, deploymentsPath):
		return op + query
	case p.Endpoint == llm.Responses || p.Endpoint == llm.InputTokens: // which stand above all deployments
		return below(p.Base) + op + query
	}
	return below(p.Base) + "/deployments/" + url.PathEscape(p.Model) + op + query
}

// session is the path of a session, which has no body that could name the deployment. Without a
// version it is the API's that needs none: the dated ones of sessions were all previews.
func session(p llm.Place) string {
	version := p.Options["api_version"]
	if path, ok := versioned(p.Base, cmp.Or(version, "v1"), "/realtime"); ok {
		sign := "?"
		if strings.Contains(path, sign) {
			sign = "&"
		}
		return path + sign + "model=" + url.QueryEscape(p.Model)
	}
	return below(p.Base) + "/realtime" + versionParameter + url.QueryEscape(version) + "&deployment=" + url.QueryEscape(p.Model)
}

// versioned is the path of an operation in the API that needs no dates; false if the address and
// the version mean another.
func versioned(base, version, op string) (path string, ok bool) {
	if strings.HasSuffix(base, versionedOpenAI) {
		return op, true
	}
	switch version {
	case "v1", "latest":
		return below(base) + "/v1" + op, true
	case "preview":
		return below(base) + "/v1" + op + versionParameter + version, true
	}
	return "", false
}

// below is what stands between the address and what OpenAI's part of it holds.
func below(base string) string {
	if strings.HasSuffix(base, "/openai") {
		return ""
	}
	return "/openai"
}

// Classify makes the error of an answer.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return classify(now, status, h, body)
}

// Foundry is OpenAI's format at Azure AI Foundry: at a project's own address below /models, and at
// a model's own address, or at OpenAI's paths, as it is.
type Foundry struct{ openai.Codec }

// Path is the endpoint's path.
func (Foundry) Path(p llm.Place) string {
	if p.Endpoint == llm.Rerank { // Cohere's models, at an address of their own
		if strings.HasSuffix(p.Base, "/v1") || strings.HasSuffix(p.Base, "/v2") {
			return "/rerank"
		}
		return "/v1/rerank"
	}
	if p.Endpoint == llm.OCR { // Mistral's models, at a resource or at an address of their own
		return documents(p.Base)
	}
	if p.Endpoint == llm.AzurePictures {
		return pictures.Path(p.Model) + pictures.Query(p.Options)
	}
	op, version := operations[p.Endpoint], p.Options["api_version"]
	switch {
	case strings.HasSuffix(p.Base, versionedOpenAI), strings.HasSuffix(p.Base, "/v1") && version == "":
		return op
	case strings.Contains(p.Base, deploymentsPath), strings.HasSuffix(p.Base, ".openai.azure.com"):
		return Codec{}.Path(p)
	case p.Endpoint.Family() == llm.FamilyMedia && strings.HasSuffix(p.Base, foundryHost): // OpenAI's models at a resource
		return Codec{}.Path(p)
	}
	if version == "" {
		version = FoundryVersion
	}
	query := versionParameter + url.QueryEscape(version)
	if strings.HasSuffix(p.Base, foundryHost) {
		return "/models" + op + query
	}
	if strings.HasSuffix(p.Base, "/models") || p.Options["api_version"] != "" {
		return op + query
	}
	return op
}

// Row is the row that serves a model by its name: some make pictures in forms of their own.
func Row(model string) string {
	if pictures.Serves(model) {
		return pictures.Row
	}
	return ""
}

// Read reads a whole answer.
func (c Foundry) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	if e == llm.AzurePictures {
		return embed.Report(body, "") // what was made is counted where it is read
	}
	return c.Codec.Read(e, body)
}

// documents is where documents are read.
func documents(base string) string {
	switch {
	case strings.HasSuffix(base, foundryHost):
		return "/providers/mistral/azure/ocr"
	case strings.HasSuffix(base, "/v1"):
		return "/ocr"
	}
	return "/v1/ocr"
}

// Classify makes the error of an answer.
func (Foundry) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	return classify(now, status, h, body)
}

// refusal is what is read of an error beside what OpenAI's have.
type refusal struct{ code, inner, message string }

func read(body []byte) (f refusal) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "error":
			for m := 0; c.Member(m); m++ {
				f.member(&c)
			}
		case "message":
			f.message = c.Text()
		default:
			c.Raw()
		}
	}
	return f
}

// member reads a member of an error.
func (f *refusal) member(c *llm.Cursor) {
	switch string(c.Name()) {
	case "code":
		f.code = c.Text()
	case "message":
		f.message = c.Text()
	case "innererror":
		for n := 0; c.Member(n); n++ {
			if string(c.Name()) == "code" {
				f.inner = c.Text()
			} else {
				c.Raw()
			}
		}
	default:
		c.Raw()
	}
}

// deployment says whether a refusal is the fault of how the deployment is set up, though its
// status is that of a wrong request.
func (f *refusal) deployment() bool {
	return contains(f.message, "api version not supported", "unsupported api-version", "does not work with the specified model",
		"operation is unsupported", "model version is deprecated", "unknown model") || f.code == "OperationNotSupported"
}

// classify makes the error of an answer with OpenAI's rules, after it has read Azure's own codes:
// many are the status in words.
func classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	f := read(body)
	switch {
	case status == http.StatusBadRequest && f.deployment():
		status = http.StatusNotFound
	case f.code == "NoCapacity":
		status = http.StatusServiceUnavailable
	}
	e := openai.Codec{}.Classify(now, status, h, body)
	if e.Code == openai.CodeCredentials {
		return e
	}
	if _, err := strconv.Atoi(e.Code); err == nil || e.Code == "BadRequest" {
		e.Code = ""
	}
	switch {
	case status == http.StatusBadRequest && (f.inner == "ResponsibleAIPolicyViolation" || f.code == "content_filter"):
		e.Code = openai.CodeContent
	case e.Kind == llm.NotFound:
		e.Code = "model_not_found"
	case e.Kind == llm.RateLimited:
		if e.Code == "" {
			e.Code = "rate_limit_exceeded"
		}
		if e.RetryAfter == 0 {
			e.RetryAfter = wait(f.message)
		}
	}
	return e
}

// wait reads "Please retry after 26 seconds." and the like, 0 if it is not said.
func wait(message string) time.Duration {
	_, rest, ok := strings.Cut(strings.ToLower(message), "retry after ")
	if !ok {
		return 0
	}
	number, rest, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > 24*60*60 {
		return 0
	}
	if strings.HasPrefix(rest, "millisecond") {
		return time.Duration(n) * time.Millisecond
	}
	return time.Duration(n) * time.Second
}

// contains looks for any of the texts, which are in lower case.
func contains(s string, texts ...string) bool {
	s = strings.ToLower(s)
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}
