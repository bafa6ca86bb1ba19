// Package embed is a request for embeddings, and its answer, in terms that every dialect can
// express: inputs, what they are for, and a vector for each.
package embed

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// Encoding is how a client wants vectors written.
type Encoding uint8

// The encodings. The zero value is an array of numbers.
const (
	Floats Encoding = iota
	Base64          // of little-endian numbers of 32 bits
)

// Purpose is what embeddings are for. Models that were trained so make other vectors for questions
// than for what they are compared with.
type Purpose uint8

// The purposes.
const (
	PurposeUnsaid Purpose = iota
	PurposeQuery
	PurposeDocument
	PurposeSimilarity
	PurposeClassification
	PurposeClustering
	PurposeQuestion // that is answered by a document
	PurposeFact     // that is verified
	PurposeCode     // a query for code
	numPurposes
)

// Input is what becomes one vector. One of Text, Tokens and Raw is set; an empty Text is one.
type Input struct {
	Text   string
	Tokens []int64 // of a tokenizer that client and model share
	// Raw is an input that only the vendor called Origin understands, such as an image, as JSON.
	Raw    []byte
	Origin string

	Purpose Purpose // of this input; PurposeUnsaid: that of the request
	Title   string  // of a document, for vendors that want to know
}

// Request asks for vectors. It is not changed once it was read.
type Request struct {
	Model      string
	Inputs     []Input
	Dimensions int64 // of a vector; 0: as the model says
	Encoding   Encoding
	User       string
	Purpose    Purpose
	Truncate   *bool        // whether what is too long is cut; nil: as the vendor says
	Extra      []llm.Member // that only some vendors know
}

// PurposeOf is what the input is for.
func (r *Request) PurposeOf(in *Input) Purpose {
	if in.Purpose != PurposeUnsaid {
		return in.Purpose
	}
	return r.Purpose
}

// Common is what all inputs are for, PurposeUnsaid if that differs. It is for vendors that are told
// once.
func (r *Request) Common() Purpose {
	if len(r.Inputs) == 0 {
		return r.Purpose
	}
	p := r.PurposeOf(&r.Inputs[0])
	for i := range r.Inputs {
		if r.PurposeOf(&r.Inputs[i]) != p {
			return PurposeUnsaid
		}
	}
	return p
}

// Part is the request for the inputs [from, to).
func (r *Request) Part(from, to int) *Request {
	part := *r
	part.Inputs = r.Inputs[from:to:to]
	return &part
}

// Member is the raw value of a member that only some vendors know, nil if there is none.
func (r *Request) Member(name string) []byte {
	for _, m := range r.Extra {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// PurposeNames are the members in which clients say what embeddings are for.
var PurposeNames = []string{"input_type", "task_type", "task"}

// AppendExtra appends the members that the vendor knows, which are named, and those that the policy
// passes on. All others are dropped, but for what became Purpose.
func (r *Request) AppendExtra(dst []byte, t *llm.Target, known ...string) []byte {
	extra := r.Extra
	if r.Purpose != PurposeUnsaid {
		extra = slices.DeleteFunc(slices.Clone(extra), func(m llm.Member) bool { return slices.Contains(PurposeNames, m.Name) })
	}
	return t.AppendExtra(dst, extra, known...)
}

// AppendTexts appends the inputs as an array of strings, for vendors that take nothing else.
func (r *Request) AppendTexts(dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	for i := range r.Inputs {
		in := &r.Inputs[i]
		if err := in.OnlyText(i); err != nil {
			return nil, err
		}
		dst = llm.AppendString(llm.AppendComma(dst), in.Text)
	}
	return append(dst, ']'), nil
}

// OnlyText refuses an input, the one at place i, that is no text.
func (in *Input) OnlyText(i int) error {
	switch {
	case in.Tokens != nil:
		return llm.Unsayable("input["+strconv.Itoa(i)+"]", "The model's provider takes texts and no tokens. Send input "+strconv.Itoa(i)+" as a string.")
	case in.Raw != nil:
		return llm.Unsayable("input["+strconv.Itoa(i)+"]", "The model's provider takes texts alone. Input "+strconv.Itoa(i)+" is none.")
	}
	return nil
}

// purposes are the words of vendors that are taken from clients of any dialect.
var purposes = map[string]Purpose{
	"search_query": PurposeQuery, "query": PurposeQuery, "retrieval_query": PurposeQuery, "retrieval.query": PurposeQuery,
	"search_document": PurposeDocument, "document": PurposeDocument, "passage": PurposeDocument, "retrieval_document": PurposeDocument, "retrieval.passage": PurposeDocument,
	"semantic_similarity": PurposeSimilarity, "text-matching": PurposeSimilarity,
	"classification": PurposeClassification,
	"clustering":     PurposeClustering, "separation": PurposeClustering,
	"question_answering": PurposeQuestion, "fact_verification": PurposeFact,
	"code_retrieval_query": PurposeCode, "code.query": PurposeCode, "nl2code.query": PurposeCode,
}

// ParsePurpose reads what a client calls a purpose; false if no vendor calls one so.
func ParsePurpose(word string) (Purpose, bool) {
	p, ok := purposes[strings.ToLower(word)]
	return p, ok
}

// Words are what a vendor calls the purposes, "" for those that it does not know.
type Words [numPurposes]string

// Of is the vendor's word for a purpose. One that it lacks is dropped.
func (w *Words) Of(p Purpose, t *llm.Target) string {
	if p != PurposeUnsaid && w[p] == "" {
		t.Drop("input_type")
	}
	return w[p]
}

// Response is a vector for each input, in the order of the inputs.
type Response struct {
	Model   string
	Vectors []Vector
	Usage   llm.Usage // Source is UsageNone if nobody said
}

// Vector is an embedding as the provider wrote it, in the bytes of its answer. One of its members
// is set.
type Vector struct {
	JSON   []byte // an array of numbers
	Packed []byte // base64, without quotes
}

var errVector = errors.New("a vector is neither an array of numbers nor base64")

// TakeVector takes a vector: an array of numbers, or a string of base64.
func TakeVector(c *llm.Cursor) (Vector, error) {
	switch c.Next() {
	case '"':
		raw := c.Raw()
		if len(raw) < 2 {
			return Vector{}, errVector
		}
		raw = raw[1 : len(raw)-1]
		if n, err := base64.StdEncoding.Decode(make([]byte, base64.StdEncoding.DecodedLen(len(raw))), raw); err != nil || n%4 != 0 {
			return Vector{}, errVector
		}
		return Vector{Packed: raw}, nil
	case '[':
		raw := c.Raw()
		if err := c.Err(); err != nil {
			return Vector{}, err
		}
		if !numbers(raw) {
			return Vector{}, errVector
		}
		return Vector{JSON: raw}, nil
	}
	return Vector{}, errVector
}

// numbers says whether an array, whose syntax was checked, holds numbers alone, and at least one.
func numbers(raw []byte) bool {
	some := false
	for _, b := range raw[1 : len(raw)-1] {
		switch b {
		case '[', '{', '"', 't', 'f', 'n':
			return false
		}
		some = some || b > ' '
	}
	return some
}

// AppendFloats appends the vector as an array of numbers.
func (v Vector) AppendFloats(dst []byte) []byte {
	if v.JSON != nil {
		return llm.AppendRaw(dst, v.JSON)
	}
	raw, _ := base64.StdEncoding.AppendDecode(nil, v.Packed) // TakeVector has checked it
	dst = append(dst, '[')
	for i := 0; i+4 <= len(raw); i += 4 {
		f := math.Float32frombits(binary.LittleEndian.Uint32(raw[i:]))
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFloat(dst, f)
	}
	return append(dst, ']')
}

// appendFloat appends a number; JSON has none for what is not finite.
func appendFloat(dst []byte, f float32) []byte {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, float64(f), 'g', -1, 32)
}

// AppendBase64 appends the vector as a string of base64, in quotes.
func (v Vector) AppendBase64(dst []byte) []byte {
	dst = append(dst, '"')
	if v.JSON == nil {
		dst = append(dst, v.Packed...)
		return append(dst, '"')
	}
	raw := make([]byte, 0, len(v.JSON)/3)
	c := llm.NewCursor(v.JSON)
	for n := 0; c.Element(n); n++ {
		f, _ := c.Float()
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
	}
	dst = base64.StdEncoding.AppendEncode(dst, raw)
	return append(dst, '"')
}

// Append appends the vector as the client wants it.
func (v Vector) Append(dst []byte, e Encoding) []byte {
	if e == Base64 {
		return v.AppendBase64(dst)
	}
	return v.AppendFloats(dst)
}
