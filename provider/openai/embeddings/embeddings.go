// Package embeddings reads and writes OpenAI's embeddings, and those of the vendors whose form
// differs from it by names alone, such as Voyage, Jina and Mistral.
package embeddings

import (
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// Format is a form of embeddings. Names that are "" are of what the vendor does not have.
type Format struct {
	Dimensions string      // "dimensions"
	Encoding   string      // "encoding_format", where the vendor knows base64
	Purpose    string      // "input_type"
	Words      embed.Words // for purposes
	Truncate   string      // "truncation"
	User       bool        // takes "user"
	Takes      bool        // tokens
	Origin     string      // whose inputs other than texts it takes
	Known      []string    // further members that it takes
	All        bool        // takes every further member, or judges them itself
}

// OpenAI is OpenAI's own form.
var OpenAI = Format{Dimensions: "dimensions", Encoding: "encoding_format", User: true, Takes: true, Origin: origin, All: true}

// MaxInputs is how many inputs OpenAI takes at once.
const MaxInputs = 2048

// origin is whose form inputs have that are neither texts nor tokens: that of whoever serves this
// form and takes them.
const origin = "openai"

// DecodeRequest reads a client's request.
func (Format) DecodeRequest(body []byte) (*embed.Request, error) {
	r, req := jsonread.New(body), new(embed.Request)
	r.Members(func(name string) { readMember(&r, req, name) })
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if len(req.Inputs) == 0 {
		return nil, jsonread.Invalid("input", "must not be empty")
	}
	return req, nil
}

func readMember(r *jsonread.Reader, req *embed.Request, name string) {
	switch name {
	case "model":
		req.Model = r.Str()
	case "input":
		readInputs(r, req)
	case "dimensions":
		req.Dimensions = r.Count()
	case "encoding_format":
		switch word := r.Str(); word {
		case "", "float":
		case "base64":
			req.Encoding = embed.Base64
		default:
			r.Wrong("must be float or base64")
		}
	case "user":
		req.User = r.Str()
	case "input_type", "task_type", "task":
		keep(r, req, name)
		c := llm.NewCursor(req.Member(name))
		if p, ok := embed.ParsePurpose(c.Text()); ok {
			req.Purpose = p
		}
	case "tags", "guardrails", "metadata", "litellm_session_id", "litellm_trace_id", "fallbacks", "disable_fallbacks", "num_retries", "timeout", "stream":
		r.Raw() // the gateway's own
	default:
		keep(r, req, name)
	}
}

// keep keeps a member that only some vendors know.
func keep(r *jsonread.Reader, req *embed.Request, name string) {
	if raw := r.Copy(); raw != nil {
		req.Extra = append(req.Extra, llm.Member{Name: name, Value: raw})
	}
}

// readInputs reads a text, tokens, or a list of these.
func readInputs(r *jsonread.Reader, req *embed.Request) {
	req.Inputs = nil
	if r.Next() != '[' {
		readInput(r, req)
		return
	}
	var tokens []int64
	r.List(func(i int) {
		if next := r.Next(); next == '-' || next >= '0' && next <= '9' {
			tokens = append(tokens, readToken(r, "input["+strconv.Itoa(i)+"]"))
			return
		}
		readInput(r, req)
	})
	switch {
	case tokens != nil && req.Inputs != nil:
		r.WrongAt("input", "mixes tokens with other inputs")
	case tokens != nil:
		req.Inputs = []embed.Input{{Tokens: tokens}}
	}
}

// readInput reads one input.
func readInput(r *jsonread.Reader, req *embed.Request) {
	var in embed.Input
	switch r.Next() {
	case '"':
		in.Text = r.Text()
	case '[':
		name := "input[" + strconv.Itoa(len(req.Inputs)) + "]"
		for i := 0; r.Element(i); i++ {
			in.Tokens = append(in.Tokens, readToken(r, name))
		}
		if in.Tokens == nil {
			r.WrongAt(name, "must not be empty")
		}
	case '{':
		in.Raw, in.Origin = r.Copy(), origin
	default:
		r.Raw()
		r.WrongAt("input", "must be a string, an array of strings, or tokens")
	}
	req.Inputs = append(req.Inputs, in)
}

func readToken(r *jsonread.Reader, param string) int64 {
	n, ok := r.Int()
	if !ok || n < 0 {
		r.WrongAt(param, "has something that is no token, which is a whole number")
	}
	return n
}

// Tokens says whether the provider takes them.
func (f Format) Tokens() bool { return f.Takes }

// EncodeRequest writes a request for the provider.
func (f Format) EncodeRequest(req *embed.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendString([]byte(`{"model":`), req.Model)
	dst, err := f.appendInputs(llm.AppendKey(dst, "input"), req)
	if err != nil {
		return nil, err
	}
	if req.Dimensions > 0 && (f.Dimensions != "" || t.Drop("dimensions")) {
		dst = strconv.AppendInt(llm.AppendKey(dst, orName(f.Dimensions, "dimensions")), req.Dimensions, 10)
	}
	if req.Encoding == embed.Base64 && f.Encoding != "" {
		dst = append(llm.AppendKey(dst, f.Encoding), `"base64"`...)
	}
	if req.User != "" && (f.User || t.Drop("user")) {
		dst = llm.AppendString(llm.AppendKey(dst, "user"), req.User)
	}
	dst = f.appendPurpose(dst, req, t)
	if req.Truncate != nil && f.Truncate != "" {
		dst = strconv.AppendBool(llm.AppendKey(dst, f.Truncate), *req.Truncate)
	}
	if f.All {
		for _, m := range req.Extra {
			dst = m.Append(dst)
		}
	} else {
		dst = req.AppendExtra(dst, t, f.Known...)
	}
	return append(dst, '}'), nil
}

func orName(name, or string) string {
	if name == "" {
		return or
	}
	return name
}

func (f Format) appendPurpose(dst []byte, req *embed.Request, t *llm.Target) []byte {
	if f.Purpose == "" {
		if p := req.Common(); p != embed.PurposeUnsaid && !f.All {
			t.Drop("input_type")
		}
		return dst
	}
	if word := f.Words.Of(req.Common(), t); word != "" {
		dst = llm.AppendString(llm.AppendKey(dst, f.Purpose), word)
	}
	return dst
}

func (f Format) appendInputs(dst []byte, req *embed.Request) ([]byte, error) {
	dst = append(dst, '[')
	for i := range req.Inputs {
		in := &req.Inputs[i]
		dst = llm.AppendComma(dst)
		switch {
		case in.Tokens != nil && f.Takes:
			dst = append(dst, '[')
			for j, token := range in.Tokens {
				if j > 0 {
					dst = append(dst, ',')
				}
				dst = strconv.AppendInt(dst, token, 10)
			}
			dst = append(dst, ']')
		case in.Raw != nil && in.Origin == f.Origin:
			dst = llm.AppendRaw(dst, in.Raw)
		default:
			if err := in.OnlyText(i); err != nil {
				return nil, err
			}
			dst = llm.AppendString(dst, in.Text)
		}
	}
	return append(dst, ']'), nil
}
