package mock

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

const (
	maxInputs     = 2048
	maxDimensions = 8192
)

// embeddings answers /v1/embeddings with a unit vector for each input, the same one whenever the
// input is the same.
func (s *Server) embeddings(x *exchange) error {
	var req struct {
		Input          json.RawMessage `json:"input"`
		EncodingFormat string          `json:"encoding_format"`
		Dimensions     int             `json:"dimensions"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil {
		return &llm.Error{Kind: llm.Invalid, Message: "The request could not be read: " + err.Error()}
	}
	inputs, tokens, err := split(req.Input)
	if err != nil {
		return err
	}
	if req.Dimensions == 0 {
		req.Dimensions = s.cfg.Dimensions
	}
	if req.Dimensions < 1 || req.Dimensions > maxDimensions {
		return &llm.Error{Kind: llm.Invalid, Param: "dimensions", Message: "The number of dimensions is out of range."}
	}
	if len(x.plan.usage) > 0 {
		tokens = x.plan.usage[0]
	}
	x.entry.PromptTokens = tokens
	out := []byte(`{"object":"list","data":[`)
	for i, in := range inputs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"object":"embedding","index":`...)
		out = strconv.AppendInt(out, int64(i), 10)
		out = append(out, `,"embedding":`...)
		out = append(appendVector(out, vector(in, req.Dimensions), req.EncodingFormat), '}')
	}
	out = append(out, `],"model":`...)
	out = llm.AppendString(out, x.fields.Model)
	out = append(out, `,"usage":{"prompt_tokens":`...)
	out = strconv.AppendInt(out, tokens, 10)
	out = append(out, `,"total_tokens":`...)
	out = strconv.AppendInt(out, tokens, 10)
	out = append(out, "}}"...)
	x.w.Header()["Content-Type"] = jsonType
	_, werr := x.w.Write(out)
	x.entry.Whole = werr == nil
	return nil
}

// split takes the inputs apart: a string, strings, token numbers, or lists of those. It counts a
// token for four bytes of text, or for each number.
func split(raw json.RawMessage) (inputs [][]byte, tokens int64, err error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || (len(list) > 0 && list[0][0] != '"' && list[0][0] != '[') {
		list = []json.RawMessage{raw}
	}
	if len(raw) == 0 || string(raw) == "null" || len(list) == 0 || len(list) > maxInputs {
		return nil, 0, &llm.Error{Kind: llm.Invalid, Param: "input", Message: "The input must have 1 to 2048 entries."}
	}
	for _, in := range list {
		var numbers []int64
		var text string
		switch {
		case json.Unmarshal(in, &text) == nil:
			tokens += max(1, int64(len(text)+3)/4)
		case json.Unmarshal(in, &numbers) == nil && len(numbers) > 0:
			tokens += int64(len(numbers))
		default:
			return nil, 0, &llm.Error{Kind: llm.Invalid, Param: "input", Message: "The input must be texts or lists of tokens."}
		}
		inputs = append(inputs, in)
	}
	return inputs, tokens, nil
}

// vector makes a unit vector of the bytes.
func vector(in []byte, n int) []float32 {
	h := fnv.New64a()
	_, _ = h.Write(in) // never fails
	seed := h.Sum64()
	v := make([]float32, n)
	sum := 0.0
	for i := range v {
		f := float64(mix(seed+uint64(i))>>11)/(1<<52) - 1
		v[i] = float32(f)
		sum += f * f
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// appendVector appends v as an array, or as base64 of little-endian numbers.
func appendVector(out []byte, v []float32, format string) []byte {
	if format == "base64" {
		raw := make([]byte, 0, 4*len(v))
		for _, f := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
		}
		out = append(out, '"')
		out = base64.StdEncoding.AppendEncode(out, raw)
		return append(out, '"')
	}
	out = append(out, '[')
	for i, f := range v {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendFloat(out, float64(f), 'g', -1, 32)
	}
	return append(out, ']')
}
