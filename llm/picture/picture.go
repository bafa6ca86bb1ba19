// Package picture is a request for pictures of a text, and the pictures, in terms that every dialect
// can express.
package picture

import (
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// Input is a picture that is to be changed. Its bytes are the client's.
type Input struct {
	Type string // "image/png"
	Data []byte
}

// Request asks for pictures: of a text, or with Inputs for changes of those, or with them and without a
// Prompt for variations.
type Request struct {
	Model      string
	Prompt     string
	N          int64  // 0: one
	Size       string // "1024x1024"; "" or "auto": as the provider says
	Quality    string
	Format     string // of the files: "png", "jpeg" or "webp"; "": as the provider says
	Answer     string // "url" or "b64_json"; "": as the provider says
	Background string
	Stream     bool
	Inputs     []Input
	Masked     bool // the client says where its picture may change
	Mask       Input
	Extra      []llm.Member
}

// AppendBase64 appends a picture as a string of base64.
func (in *Input) AppendBase64(dst []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), in.Data), '"')
}

// AppendURL appends a picture as a string that is a data URL.
func (in *Input) AppendURL(dst []byte) []byte {
	dst = append(append(append(dst, `"data:`...), in.Type...), ";base64,"...)
	return append(base64.StdEncoding.AppendEncode(dst, in.Data), '"')
}

// DropMask drops the mask, for vendors that have no such thing.
func (r *Request) DropMask(t *llm.Target) {
	if r.Masked {
		t.Drop("mask")
	}
}

// Count is how many pictures are asked for.
func (r *Request) Count() int64 { return max(1, r.N) }

// Pixels are the width and the height that are asked for; 0 for any.
func (r *Request) Pixels() (width, height int64) {
	w, h, ok := strings.Cut(r.Size, "x")
	if !ok {
		return 0, 0
	}
	width, errW := strconv.ParseInt(w, 10, 32)
	height, errH := strconv.ParseInt(h, 10, 32)
	if errW != nil || errH != nil || width <= 0 || height <= 0 || width > 1<<14 || height > 1<<14 {
		return 0, 0
	}
	return width, height
}

// Aspect is the one of the ratios, such as "16:9", that the size is nearest to; "" for any size.
func (r *Request) Aspect(ratios ...string) string {
	w, h := r.Pixels()
	best, off := "", 0.0
	for _, ratio := range ratios {
		a, b, _ := strings.Cut(ratio, ":")
		x, _ := strconv.ParseFloat(a, 64)
		y, _ := strconv.ParseFloat(b, 64)
		if w == 0 || y == 0 {
			continue
		}
		d := float64(w)/float64(h)/(x/y) - 1
		if d < 0 {
			d = -d / (1 + d) // too narrow is as far as too wide
		}
		if best == "" || d < off {
			best, off = ratio, d
		}
	}
	return best
}

// Drop drops what the vendor does not know of the members that have no field, and of those fields that
// are named: "quality", "background", "output_format", "size". An answer in another way than was asked
// for is always named.
func (r *Request) Drop(t *llm.Target, known []string, lacks ...string) {
	for _, m := range r.Extra {
		if !slices.Contains(known, m.Name) {
			t.Drop(m.Name)
		}
	}
	for _, name := range lacks {
		given := map[string]string{
			"quality": r.Quality, "background": r.Background, "output_format": r.Format, "size": strings.TrimPrefix(r.Size, "auto"), "response_format": r.Answer,
		}[name]
		if given != "" {
			t.Drop(name)
		}
	}
}

// AppendKnown appends the members that the vendor knows, which are named.
func (r *Request) AppendKnown(dst []byte, known ...string) []byte {
	for _, m := range r.Extra {
		if slices.Contains(known, m.Name) {
			dst = append(llm.AppendString(llm.AppendComma(dst), m.Name), ':')
			dst = llm.AppendRaw(dst, m.Value)
		}
	}
	return dst
}

// Picture is one picture: its address, or its bytes in base64 as they stand in the answer.
type Picture struct {
	URL     string
	Base64  []byte
	Revised string // the prompt that was used
}

// Response is the pictures.
type Response struct {
	Pictures []Picture
	Usage    llm.Usage
}

// Filtered is the error of pictures that the provider's rules do not allow.
func Filtered(why string) error {
	message := "The provider does not make pictures of this prompt."
	if why != "" {
		message = "The provider does not make pictures of this prompt: " + why
	}
	return &llm.Error{Kind: llm.Invalid, Code: "content_policy_violation", Param: "prompt", Message: message, NoRetry: true}
}

// Malformed is the error of an answer that cannot be read.
func Malformed(err error) error {
	return &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an answer that cannot be read.", Err: err}
}

var errNone = errors.New("it has no pictures")

// Counted notes that the pictures were made; an answer without any is an error.
func (r *Response) Counted() (*Response, error) {
	if len(r.Pictures) == 0 {
		return nil, Malformed(errNone)
	}
	r.Usage.Units.OutputImages = int64(len(r.Pictures))
	r.Usage.Source = llm.UsageProvider
	return r, nil
}

// TakeBase64 takes the bytes of a picture, nil if the value is no string of base64.
func TakeBase64(c *llm.Cursor) []byte {
	raw := c.Raw()
	if len(raw) < 3 || raw[0] != '"' {
		return nil
	}
	raw = raw[1 : len(raw)-1]
	for _, b := range raw {
		ok := b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '/' || b == '='
		if !ok {
			return nil
		}
	}
	return raw
}

// FromData reads an answer in OpenAI's form, {"data":[{"b64_json":…},{"url":…}],"usage":{…}}. Errors are
// *llm.Error.
func FromData(body []byte) (*Response, error) {
	res := new(Response)
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) != "data" || c.Next() != '[' {
			c.Raw()
			continue
		}
		for i := 0; c.Element(i); i++ {
			res.take(&c)
		}
	}
	if err := c.End(); err != nil {
		return nil, Malformed(err)
	}
	if u, ok := llm.ReadUsage(llm.DialectImages, body); ok {
		res.Usage = u
	}
	return res.Counted()
}

// take takes a picture of OpenAI's form.
func (r *Response) take(c *llm.Cursor) {
	var p Picture
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "url":
			p.URL = c.Text()
		case "b64_json":
			p.Base64 = TakeBase64(c)
		case "revised_prompt":
			p.Revised = c.Text()
		default:
			c.Raw()
		}
	}
	if p.URL != "" || p.Base64 != nil {
		r.Pictures = append(r.Pictures, p)
	}
}
