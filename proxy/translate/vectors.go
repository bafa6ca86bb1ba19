package translate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/embed"
	"github.com/conclave-llm/conclave/provider"
)

// maxAtOnce is how many parts of one request are asked at the same time.
const maxAtOnce = 4

// Detokenizer gives the text of tokens, for providers that take texts alone.
type Detokenizer func(tokens []int64) (string, error)

// Vectors is a request for embeddings, read once and written for each deployment that is tried, in
// as many parts as that wants.
type Vectors struct {
	in     provider.EmbedInbound
	out    provider.EmbedOutbound
	req    *embed.Request
	Bodies [][]byte // of the parts, as Write has written them last
	size   int      // of a part, but for the last
}

// ReadVectors reads the body of a client's request.
func ReadVectors(in provider.EmbedInbound, body []byte, model string) (*Vectors, error) {
	req, err := in.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	req.Model = model
	return &Vectors{in: in, req: req}, nil
}

// Write writes the request for a provider that takes most inputs at once, 0 for any number. text
// may be nil.
func (v *Vectors) Write(out provider.EmbedOutbound, t *llm.Target, most int, text Detokenizer) error {
	req := *v.req
	req.Model = t.Model
	v.out, v.Bodies, v.size = out, nil, len(req.Inputs)
	if most > 0 {
		v.size = min(v.size, most)
	}
	if !out.Tokens() && text != nil {
		if err := spell(&req, text); err != nil {
			return err
		}
	}
	for from := 0; from < len(req.Inputs); from += v.size {
		body, err := out.EncodeRequest(req.Part(from, min(from+v.size, len(req.Inputs))), t)
		if err != nil {
			return shifted(err, from)
		}
		v.Bodies = append(v.Bodies, body)
	}
	return t.Err()
}

// spell puts texts in the place of tokens.
func spell(req *embed.Request, text Detokenizer) error {
	inputs := make([]embed.Input, len(req.Inputs))
	copy(inputs, req.Inputs)
	for i := range inputs {
		in := &inputs[i]
		if in.Tokens == nil {
			continue
		}
		s, err := text(in.Tokens)
		if err != nil {
			return llm.Unsayable(inputName(i), "The model's provider takes texts, and input "+strconv.Itoa(i)+" is of tokens that are not known: "+err.Error()+".")
		}
		in.Text, in.Tokens = s, nil
	}
	req.Inputs = inputs
	return nil
}

func inputName(i int) string { return "input[" + strconv.Itoa(i) + "]" }

// shifted is an error about an input of a part that begins with the input from of the whole.
func shifted(err error, from int) error {
	e, ok := errors.AsType[*llm.Error](err)
	var i int
	if !ok || from == 0 {
		return err
	}
	if n, _ := fmt.Sscanf(e.Param, "input[%d]", &i); n != 1 {
		return err
	}
	mine := *e
	mine.Param = inputName(from + i)
	mine.Message = "Input " + strconv.Itoa(from+i) + ": " + e.Message
	return &mine
}

// Part is the answer to one part of a request.
type Part struct {
	Body   []byte
	Report llm.Report
}

// Ask asks for all parts, a few at once, with ask, which is given a part's place and body. The
// first failure ends the others, and is returned. Nothing of it runs on when Ask has returned.
func (v *Vectors) Ask(ctx context.Context, ask func(ctx context.Context, i int, body []byte) (Part, error)) ([]Part, error) {
	return askAll(ctx, v.Bodies, func(ctx context.Context, i int, body []byte) (Part, error) {
		part, err := ask(ctx, i, body)
		if err != nil {
			err = v.placed(err, i)
		}
		return part, err
	})
}

// askAll asks for all parts of a request, a few at once.
func askAll(ctx context.Context, bodies [][]byte, ask func(ctx context.Context, i int, body []byte) (Part, error)) ([]Part, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := make([]Part, len(bodies))
	var wg sync.WaitGroup
	room := make(chan struct{}, maxAtOnce)
	for i, body := range bodies {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			part, err := ask(ctx, i, body)
			if err != nil {
				cancel(err)
				return
			}
			parts[i] = part
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return parts, nil
}

// placed says of which inputs a provider complains.
func (v *Vectors) placed(err error, i int) error {
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Kind != llm.Invalid || len(v.Bodies) == 1 {
		return err
	}
	mine := *e
	mine.Body = nil // which knows nothing of the other parts
	from := i * v.size
	to := min(from+v.size, len(v.req.Inputs)) - 1
	switch at := 0; {
	case to == from:
		mine.Param, mine.Message = inputName(from), "Input "+strconv.Itoa(from)+": "+e.Message
	case indexed(e.Param, &at):
		mine.Param = inputName(from + at)
		fallthrough
	default:
		mine.Message = "Of the inputs " + strconv.Itoa(from) + " to " + strconv.Itoa(to) + ": " + e.Message
	}
	return &mine
}

func indexed(param string, at *int) bool {
	n, _ := fmt.Sscanf(param, "input[%d]", at)
	return n == 1
}

// Used adds up what the parts used; false: one of them did not say.
func Used(parts []Part) (u llm.Usage, ok bool) {
	for i := range parts {
		r := &parts[i].Report
		if !r.HasUsage {
			return llm.Usage{}, false
		}
		u.Input += r.Usage.Input
		u.CacheRead += r.Usage.CacheRead
		u.ImageInput += r.Usage.ImageInput
		u.AudioInput += r.Usage.AudioInput
		u.Units.InputImages += r.Usage.Units.InputImages
		u.Source, u.Service = r.Usage.Source, r.Usage.Service
	}
	return u, true
}

// Answer says the answers to all parts in the client's dialect. Usage is what was used.
func (v *Vectors) Answer(parts []Part, usage llm.Usage) ([]byte, error) {
	res := &embed.Response{Usage: usage}
	for i := range parts {
		got, err := v.out.DecodeResponse(parts[i].Body)
		if err != nil {
			return nil, err
		}
		want := min(v.size, len(v.req.Inputs)-i*v.size)
		if len(got.Vectors) != want {
			return nil, embed.Malformed(fmt.Errorf("it has %d vectors for %d inputs", len(got.Vectors), want))
		}
		res.Vectors = append(res.Vectors, got.Vectors...)
		res.Model = got.Model
	}
	return v.in.EncodeResponse(v.req, res)
}
