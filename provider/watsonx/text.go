package watsonx

import (
	"encoding/json"
	"io"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/plain"
)

// TextCodec is watsonx.ai's text generation, as IBM's API reference has it; IBM has announced its end
// for 2027 and points to conversations.
type TextCodec struct{ Codec }

var texts = plain.Codec{Reader: readText, Marked: true}

// deployed is how the name of a model begins that is a deployment of one's own.
const deployed = "deployment/"

// Path is the endpoint's path, with the version of the API.
func (c TextCodec) Path(p llm.Place) string {
	path := "/ml/v1/"
	if id, ok := strings.CutPrefix(p.Model, deployed); ok {
		path += "deployments/" + url.PathEscape(id) + "/"
	}
	path += "text/generation"
	if p.Stream {
		path += "_stream"
	}
	version := p.Options["api_version"]
	if version == "" {
		version = DefaultVersion
	}
	return path + "?version=" + url.QueryEscape(version)
}

// Read reads a whole answer.
func (TextCodec) Read(e llm.Endpoint, body []byte) (llm.Report, error) { return texts.Read(e, body) }

// Meter reads a stream.
func (TextCodec) Meter(e llm.Endpoint) llm.Meter { return texts.Meter(e) }

// Frames is nil: streams are server-sent events.
func (TextCodec) Frames(llm.Endpoint, io.Reader, int) llm.EventReader { return nil }

// Text is the dialect of texts.
type Text struct{}

// defaultTokens is what is asked for where nobody says, because IBM's own default is 20.
const defaultTokens = 1024

// EncodeRequest writes a request for the provider.
func (Text) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	p, err := plain.Ask(q, t, "seed", "top_k", "repetition_penalty", "min_new_tokens", "length_penalty", "time_limit")
	if err != nil {
		return nil, err
	}
	dst := []byte{'{'}
	if !strings.HasPrefix(t.Model, deployed) { // a deployment says both itself
		if dst, err = appendHead(nil, t); err != nil {
			return nil, err
		}
	}
	most := q.MaxTokens
	if most == 0 {
		most = plain.Most(t, defaultTokens)
	}
	dst = llm.AppendString(llm.AppendKey(dst, "input"), p.Text)
	dst = append(llm.AppendKey(dst, "parameters"), '{')
	method := "greedy"
	if q.Temperature != nil && *q.Temperature > 0 || q.TopP != nil || q.TopK != nil {
		method = "sample"
	}
	dst = llm.AppendString(llm.AppendKey(dst, "decoding_method"), method)
	dst = plain.AppendInt(dst, "max_new_tokens", &most)
	if method == "sample" {
		dst = plain.AppendFloat(dst, "temperature", q.Temperature)
	}
	dst = plain.AppendFloat(dst, "top_p", q.TopP)
	dst = plain.AppendInt(dst, "top_k", q.TopK)
	dst = plain.AppendInt(dst, "random_seed", q.Seed)
	dst = plain.AppendTexts(dst, "stop_sequences", p.Stop)
	dst = plain.AppendExtra(dst, q, "repetition_penalty", "min_new_tokens", "length_penalty", "time_limit")
	return append(dst, '}', '}'), t.Err()
}

// DecodeResponse reads a whole answer.
func (Text) DecodeResponse(body []byte) (*chat.Response, error) { return texts.DecodeResponse(body) }

// NewDecoder reads one stream.
func (Text) NewDecoder() chat.Decoder { return texts.NewDecoder() }

// readText reads an answer or an event, which have one form.
func readText(body []byte) (*plain.Piece, error) {
	var got struct {
		Results []struct {
			Text   string `json:"generated_text"`
			Reason string `json:"stop_reason"`
			Input  *int64 `json:"input_token_count"`
			Output *int64 `json:"generated_token_count"`
		} `json:"results"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	p := new(plain.Piece)
	if len(got.Errors) > 0 {
		p.Fault = "The model failed."
		if m := got.Errors[0].Message; m != "" {
			p.Fault = m
		}
		return p, nil
	}
	if len(got.Results) == 0 {
		return p, nil // a notice of the service's
	}
	r := &got.Results[0]
	p.Some, p.Text, p.Usage = true, r.Text, plain.Used(r.Input, r.Output)
	switch strings.ToLower(r.Reason) {
	case "", "not_finished":
	case "max_tokens", "token_limit", "time_limit":
		p.Finish = chat.FinishLength
	case "error":
		p.Fault = "The model failed."
	default:
		p.Finish = chat.FinishStop
	}
	return p, nil
}
