package embeddings

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
)

// DecodeResponse reads a provider's answer. Vectors stand in the order of their indexes, if each
// has one of its own.
func (Format) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	var indexes []int64
	r.Members(func(name string) {
		switch name {
		case "model":
			r.Res.Model = r.Text()
		case "data":
			r.Each(func(name string) {
				switch name {
				case "embedding":
					r.Vector()
				case "index":
					n, _ := r.Int()
					indexes = append(indexes, n)
				default:
					r.Raw()
				}
			})
		default:
			r.Raw()
		}
	})
	res, err := r.Finish()
	if err != nil {
		return nil, err
	}
	if rep, err := llm.Read(body); err == nil && rep.HasUsage {
		res.Usage = rep.Usage
	}
	res.Vectors = ordered(res.Vectors, indexes)
	return res, nil
}

// ordered puts vectors where their indexes say.
func ordered(vectors []embed.Vector, indexes []int64) []embed.Vector {
	if len(indexes) != len(vectors) || slices.IsSorted(indexes) {
		return vectors
	}
	placed := make([]embed.Vector, len(vectors))
	seen := make([]bool, len(vectors))
	for i, at := range indexes {
		if at < 0 || at >= int64(len(vectors)) || seen[at] {
			return vectors
		}
		placed[at], seen[at] = vectors[i], true
	}
	return placed
}

// EncodeResponse writes the answer to a client.
func (Format) EncodeResponse(req *embed.Request, res *embed.Response) ([]byte, error) {
	size := 256
	for _, v := range res.Vectors {
		size += max(len(v.JSON), len(v.Packed)) + 64
	}
	dst := append(make([]byte, 0, size), `{"object":"list","data":[`...)
	for i, v := range res.Vectors {
		dst = append(llm.AppendComma(dst), `{"object":"embedding","index":`...)
		dst = strconv.AppendInt(dst, int64(i), 10)
		dst = v.Append(append(dst, `,"embedding":`...), req.Encoding)
		dst = append(dst, '}')
	}
	dst = llm.AppendString(append(dst, `],"model":`...), orName(res.Model, req.Model))
	n := res.Usage.Prompt()
	dst = strconv.AppendInt(append(dst, `,"usage":{"prompt_tokens":`...), n, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), n, 10)
	return append(dst, '}', '}'), nil
}

// Packed gives a client that asked for base64 what it asked for: a provider of this form may not
// know of it and answer with numbers. An answer that is as it should be comes back as it is.
func Packed(body []byte) ([]byte, error) {
	if bytes.Contains(body[:min(len(body), 4096)], []byte(`"embedding":"`)) {
		return body, nil
	}
	res, err := OpenAI.DecodeResponse(body)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(res.Vectors, func(v embed.Vector) bool { return v.JSON != nil }) {
		return body, nil
	}
	return OpenAI.EncodeResponse(&embed.Request{Encoding: embed.Base64}, res)
}

// Wants says how many inputs a request of this form has, and whether it wants base64, without
// reading the inputs.
func Wants(body []byte) (inputs int, packed bool) {
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "input":
			inputs = count(&c)
		case "encoding_format":
			packed = c.Text() == "base64"
		default:
			c.Raw()
		}
	}
	return inputs, packed
}

func count(c *llm.Cursor) (inputs int) {
	if c.Next() != '[' {
		c.Raw()
		return 1
	}
	list := false
	for i := 0; c.Element(i); i++ {
		next := c.Next()
		list = list || next == '"' || next == '[' || next == '{'
		inputs++
		c.Raw()
	}
	if !list {
		return min(inputs, 1)
	}
	return inputs
}
