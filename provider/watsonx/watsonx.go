// Package watsonx reads and writes the conversations, embeddings and transcriptions of IBM's watsonx.ai.
// Conversations and transcriptions are OpenAI's but for what names the model and who pays.
package watsonx

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider/openai"
)

// DefaultVersion is that of the API for deployments that name none in their option api_version.
const DefaultVersion = "2025-05-20"

// MaxInputs is how many texts one request for embeddings may have.
const MaxInputs = 1000

// Chat is the dialect of conversations.
type Chat struct{ openai.Chat }

// EncodeRequest writes a request for the provider.
func (c Chat) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	own := *q
	own.Stream = false // the path says it
	mode := q.ToolChoice.Mode
	if mode == "auto" || mode == "none" || mode == "required" {
		own.ToolChoice.Mode = ""
	}
	said, err := c.Chat.EncodeRequest(&own, t)
	if err != nil {
		return nil, err
	}
	model := llm.AppendString([]byte(`{"model":`), t.Model)
	rest := bytes.TrimPrefix(said, model)
	dst, err := appendHead(make([]byte, 0, len(said)+128), t)
	if err != nil {
		return nil, err
	}
	if own.ToolChoice.Mode != mode {
		dst = llm.AppendString(llm.AppendKey(dst, "tool_choice_option"), mode)
	}
	return append(dst, rest...), nil
}

// appendHead appends what every body begins with.
func appendHead(dst []byte, t *llm.Target) ([]byte, error) {
	dst = llm.AppendString(append(dst, `{"model_id":`...), t.Model)
	switch project, space := t.Options["project_id"], t.Options["space_id"]; {
	case project != "":
		dst = llm.AppendString(llm.AppendKey(dst, "project_id"), project)
	case space != "":
		dst = llm.AppendString(llm.AppendKey(dst, "space_id"), space)
	default:
		return nil, noPayer()
	}
	return dst, nil
}

// noPayer is the error of a deployment that does not say who pays.
func noPayer() error {
	return llm.Unsayable("model", "The deployment needs the option project_id or space_id.")
}

// Embed is the dialect of embeddings.
type Embed struct{}

// Tokens is false: texts are taken alone.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	dst, err := appendHead(nil, t)
	if err != nil {
		return nil, err
	}
	if dst, err = req.AppendTexts(llm.AppendKey(dst, "inputs")); err != nil {
		return nil, err
	}
	if req.Dimensions > 0 && t.Drop("dimensions") {
		dst = strconv.AppendInt(llm.AppendKey(dst, "dimensions"), req.Dimensions, 10)
	}
	if req.User != "" {
		t.Drop("user")
	}
	if req.Common() != embed.PurposeUnsaid {
		t.Drop("input_type")
	}
	return append(req.AppendExtra(dst, t, "parameters"), '}'), nil
}

// DecodeResponse reads an answer.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	r.Members(func(name string) {
		switch name {
		case "model_id":
			r.Res.Model = r.Text()
		case "input_token_count":
			r.Used()
		case "results":
			r.Each(func(name string) {
				if name == "embedding" {
					r.Vector()
				} else {
					r.Raw()
				}
			})
		default:
			r.Raw()
		}
	})
	return r.Finish()
}

// Codec is watsonx.ai's format.
type Codec struct{ compatible openai.Codec }

// Path is the endpoint's path, with the version of the API. A model that is deployed, which is named
// "deployment/ID", is not served here.
func (Codec) Path(p llm.Place) string {
	version := p.Options["api_version"]
	if version == "" {
		version = DefaultVersion
	}
	query := "?version=" + url.QueryEscape(version)
	switch {
	case p.Endpoint == llm.WatsonxEmbed:
		return "/ml/v1/text/embeddings" + query
	case p.Endpoint == llm.WatsonxRerank:
		return "/ml/v1/text/rerank" + query
	case p.Endpoint == llm.WatsonxListen:
		return "/ml/v1/audio/transcriptions" + query
	case p.Stream:
		return "/ml/v1/text/chat_stream" + query
	}
	return "/ml/v1/text/chat" + query
}

// Read reads a whole answer.
func (c Codec) Read(e llm.Endpoint, body []byte) (llm.Report, error) {
	switch e {
	case llm.WatsonxEmbed, llm.WatsonxRerank:
		return embed.Report(body, "input_token_count")
	case llm.WatsonxListen:
		return embed.Report(body, "") // what it used is read with what it heard
	}
	return c.compatible.Read(e, body)
}

// Meter reads a stream, whose chunks are OpenAI's.
func (c Codec) Meter(e llm.Endpoint) llm.Meter { return c.compatible.Meter(e) }

// Frames splits a stream.
func (c Codec) Frames(e llm.Endpoint, src io.Reader, most int) llm.EventReader {
	return c.compatible.Frames(e, src, most)
}

// Classify makes the error of an answer: {"errors":[{"code":…,"message":…}],"trace":…}.
func (c Codec) Classify(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	code, message := first(body)
	if message == "" {
		return c.compatible.Classify(now, status, h, body)
	}
	said := llm.AppendString([]byte(`{"error":{"message":`), message)
	said = llm.AppendString(append(said, `,"code":`...), code)
	e := c.compatible.Classify(now, status, h, append(said, "}}"...))
	e.Body = nil
	return e
}

// first reads the first of the errors.
func first(body []byte) (code, message string) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "errors" {
			c.Raw()
			continue
		}
		for i := 0; c.Element(i); i++ {
			for m := 0; c.Member(m); m++ {
				switch string(c.Name()) {
				case "code":
					take(&code, c.Text(), i)
				case "message":
					take(&message, c.Text(), i)
				default:
					c.Raw()
				}
			}
		}
	}
	if c.End() != nil {
		return "", ""
	}
	return code, message
}

func take(to *string, text string, i int) {
	if i == 0 {
		*to = text
	}
}
