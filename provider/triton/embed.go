package triton

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
)

// Options of a deployment: what its model calls the tensor of texts and that of vectors, and whether a text
// has a dimension of its own.
const (
	optionInput   = "triton_input"
	optionOutput  = "triton_output"
	optionBatched = "triton_batched"
)

// defaultInput is what a tensor of texts is called where nobody says otherwise, as LiteLLM has it.
const defaultInput = "input_text"

// Embed is the form of embeddings: texts are a tensor of bytes, and vectors a tensor of numbers with a row for
// each text. The form is that of the public protocol (KServe, "Open Inference Protocol", version 2); no server
// was asked.
type Embed struct{}

// embedPath is the model's path, none for an address that names its model itself: one that ends in /infer, or
// in /embeddings, which a server in front of Triton may have.
func embedPath(p llm.Place) string {
	if strings.HasSuffix(p.Base, infer) || strings.HasSuffix(p.Base, "/embeddings") {
		return ""
	}
	return "/v2/models/" + url.PathEscape(p.Model) + infer
}

// Tokens is false: texts are taken alone.
func (Embed) Tokens() bool { return false }

// EncodeRequest writes a request for the provider. How long a vector is, the model alone decides. A client's
// member "parameters", which the protocol has for what a model wants to know, goes along.
func (Embed) EncodeRequest(req *embed.Request, t *llm.Target) (_ []byte, err error) {
	name := t.Options[optionInput]
	if name == "" {
		name = defaultInput
	}
	dst := llm.AppendString([]byte(`{"inputs":[{"name":`), name)
	dst = append(dst, `,"shape":[`...)
	dst = strconv.AppendInt(dst, int64(len(req.Inputs)), 10)
	if t.Options[optionBatched] == "true" {
		dst = append(dst, ",1"...)
	}
	if dst, err = req.AppendTexts(append(dst, `],"datatype":"BYTES","data":`...)); err != nil {
		return nil, err
	}
	dst = append(dst, "}]"...)
	if output := t.Options[optionOutput]; output != "" {
		dst = append(llm.AppendString(append(llm.AppendKey(dst, "outputs"), `[{"name":`...), output), "}]"...)
	}
	if req.Dimensions > 0 {
		t.Drop("dimensions")
	}
	if req.Common() != embed.PurposeUnsaid {
		t.Drop("input_type")
	}
	if req.Truncate != nil && req.Member("truncate") == nil {
		t.Drop("truncate")
	}
	if req.User != "" {
		t.Drop("user")
	}
	return append(req.AppendExtra(dst, t, "parameters"), '}'), nil
}

// DecodeResponse reads an answer. Of several tensors the one of floating-point numbers holds the vectors; where
// there are several of those, the deployment must say which, and is sent no other.
func (Embed) DecodeResponse(body []byte) (*embed.Response, error) {
	r := embed.NewReader(body)
	var found *tensor
	r.Members(func(name string) {
		switch name {
		case "model_name":
			r.Res.Model = r.Text()
		case "outputs":
			for i := 0; r.Element(i); i++ {
				t := readTensor(r)
				switch {
				case !t.floats:
				case found != nil:
					r.Fail(errSeveral)
				default:
					found = t
				}
			}
		default:
			r.Raw()
		}
	})
	if found != nil {
		vectors, err := found.rows()
		if err != nil {
			r.Fail(err)
		}
		r.Res.Vectors = vectors
	}
	return r.Finish()
}

var (
	errSeveral = errors.New("it has several tensors of numbers: the option " + optionOutput + " of the deployment must name one")
	errShape   = errors.New("a tensor's shape is not that of vectors")
	errData    = errors.New("a tensor's data are not the numbers that its shape says")
)

// tensor is an output.
type tensor struct {
	floats bool // of the type FP16, FP32, FP64 or BF16, or of one that is not said
	shape  []int64
	data   []byte // an array
}

// maxRank is how many dimensions a tensor of vectors may have.
const maxRank = 8

func readTensor(r *embed.Reader) *tensor {
	t := &tensor{floats: true}
	r.Members(func(name string) {
		switch name {
		case "datatype":
			kind := r.Text()
			t.floats = strings.HasPrefix(kind, "FP") || kind == "BF16"
		case "shape":
			for i := 0; r.Element(i); i++ {
				n, ok := r.Int()
				if !ok || n < 1 || n > llm.MaxTokenCount || i >= maxRank {
					r.Fail(errShape)
				}
				t.shape = append(t.shape, n)
			}
		case "data":
			t.data = r.Raw()
		default:
			r.Raw()
		}
	})
	return t
}

// size is how many vectors there are, and how long each is. Of the dimensions behind the first one alone may
// be above 1: vectors of single words are none of a text.
func (t *tensor) size() (rows, length int64, err error) {
	if len(t.shape) < 2 || slices.Min(t.shape) < 1 {
		return 0, 0, errShape
	}
	length = 1
	for _, n := range t.shape[1:] {
		if n > 1 && length > 1 {
			return 0, 0, errShape
		}
		length *= n
	}
	return t.shape[0], length, nil
}

// rows are the vectors. The numbers stand in one array, row by row, or in arrays of arrays.
func (t *tensor) rows() ([]embed.Vector, error) {
	rows, length, err := t.size()
	if err != nil {
		return nil, err
	}
	w := rowWriter{length: length, out: make([]byte, 0, len(t.data)+int(min(rows, int64(len(t.data))))+2)}
	c := llm.NewCursor(t.data)
	if c.Next() != '[' {
		return nil, errData
	}
	w.take(&c, 0)
	if c.End() != nil || w.bad || w.count != rows*length {
		return nil, errData
	}
	return w.vectors, nil
}

// rowWriter cuts numbers into vectors.
type rowWriter struct {
	length  int64
	count   int64 // of the numbers so far
	from    int   // where the vector begins in out
	out     []byte
	vectors []embed.Vector
	bad     bool
}

// take takes an array of numbers, or of arrays.
func (w *rowWriter) take(c *llm.Cursor, depth int) {
	for i := 0; !w.bad && c.Element(i); i++ {
		switch next := c.Next(); {
		case next == '[' && depth < maxRank:
			w.take(c, depth+1)
		case next == '-' || next >= '0' && next <= '9':
			w.number(c.Raw())
		default:
			w.bad = true
		}
	}
}

func (w *rowWriter) number(raw []byte) {
	first := w.count%w.length == 0
	if first {
		w.from = len(w.out)
		w.out = append(w.out, '[')
	} else {
		w.out = append(w.out, ',')
	}
	w.out = append(w.out, raw...)
	if w.count++; w.count%w.length == 0 {
		w.out = append(w.out, ']')
		w.vectors = append(w.vectors, embed.Vector{JSON: w.out[w.from:len(w.out):len(w.out)]})
	}
}
