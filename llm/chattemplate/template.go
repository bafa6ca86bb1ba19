package chattemplate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"

	"github.com/conclave-llm/conclave/llm"
)

// Bounds of a template and of a run.
const (
	// MaxSource is the size of a Jinja template, in bytes.
	MaxSource = 256 << 10
	// MaxOutput is the size of the text that a run writes, in bytes.
	MaxOutput = 64 << 20

	maxSteps = 200_000         // of loops
	maxCalls = 4_000           // of macros, which also bounds their depth
	maxTime  = 2 * time.Second // of a run
)

// The errors of a run that meets a bound.
var (
	ErrSteps  = errors.New("the template takes too many steps")
	ErrTime   = errors.New("the template takes too long")
	ErrOutput = errors.New("the template writes too much")
)

// Refusal is what a template itself says of a conversation that it cannot write, with raise_exception.
type Refusal struct{ Message string }

// Error says what the template says.
func (r *Refusal) Error() string { return r.Message }

// Frame is what stands before and after a turn.
type Frame struct{ Before, After string }

// Parts are the texts around a conversation and its turns.
type Parts struct {
	Frames         map[string]Frame // by role
	Initial, Final string           // before the first turn, after the last
	BOS, EOS       string           // tokens at the beginning, and at the end of what the assistant said
}

// Template writes conversations. It is safe for concurrent use.
type Template struct {
	parts Parts
	jinja *jinja.Template // nil: the parts say it all
}

// New makes a template of parts.
func New(p Parts) *Template { return &Template{parts: p} }

// Compile makes a template of a Jinja template, to which bos_token and eos_token of the parts are
// known. An error names the line, if the template is at fault, and says what it does not support.
func Compile(source string, p Parts) (*Template, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("the template has %d bytes, more than %d", len(source), MaxSource)
	}
	tags, err := scan(source)
	if err != nil {
		return nil, err
	}
	guarded := guard(source, tags)
	compiled, err := jinja.Compile(guarded)
	if err != nil {
		return nil, located(source, tags, err)
	}
	t := &Template{parts: p, jinja: compiled}
	if err := t.probe(source, tags); err != nil {
		return nil, err
	}
	return t, nil
}

// probes are conversations that a template must be able to write, or refuse by itself: what it names
// and is not there shows only then.
var probes = [...][]llm.Turn{
	{{Role: "user", Content: "a"}},
	{{Role: "system", Content: "s"}, {Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}},
}

// probe runs the template once on each of the probes.
func (t *Template) probe(source string, tags []tag) error {
	for _, p := range probes {
		_, err := t.Render(p)
		if _, refused := errors.AsType[*Refusal](err); err != nil && !refused {
			return located(source, tags, err)
		}
	}
	return nil
}

// Render writes a conversation, after which it is the assistant's turn. Errors are ErrSteps, ErrTime
// or ErrOutput for a run that meets a bound, and a *Refusal where the template itself refuses.
func (t *Template) Render(turns []llm.Turn) (string, error) {
	if t.jinja == nil {
		return t.parts.write(turns), nil
	}
	r := run{ends: time.Now().Add(maxTime)}
	out, err := t.jinja.RenderValues(map[string]jinja.Value{
		"messages": messages(turns), "tools": jinja.None(), "documents": jinja.None(), "add_generation_prompt": jinja.NewBool(true),
		"bos_token": jinja.NewString(t.parts.BOS), "eos_token": jinja.NewString(t.parts.EOS),
		"raise_exception": jinja.NewCallable("raise_exception", refuse),
		"strftime_now":    jinja.NewCallable("strftime_now", strftime),
		"range":           jinja.NewCallable("range", numbers),
		nameStep:          jinja.NewCallable(nameStep, r.step),
		nameCall:          jinja.NewCallable(nameCall, r.call),
		nameShow:          jinja.NewCallable(nameShow, r.show),
		nameKeep:          jinja.NewCallable(nameKeep, keep),
	})
	if err == nil && len(out) > MaxOutput {
		err = ErrOutput
	}
	return out, err
}

func messages(turns []llm.Turn) jinja.Value {
	list := make([]jinja.Value, len(turns))
	for i := range turns {
		list[i] = jinja.NewDict()
		d := list[i].AsDict()
		d.Set("role", jinja.NewString(turns[i].Role))
		d.Set("content", jinja.NewString(turns[i].Content))
	}
	return jinja.NewList(list)
}

// write is LiteLLM's form: tokens, initial text, each turn in its frame, final text.
func (p *Parts) write(turns []llm.Turn) string {
	var b strings.Builder
	b.WriteString(p.BOS + p.Initial)
	open := true // no turn of the assistant has ended since the last BOS
	for i := range turns {
		t := &turns[i]
		if t.Role == "system" && !open {
			b.WriteString(p.BOS)
			open = true
		}
		f := p.Frames[t.Role]
		b.WriteString(f.Before + t.Content + f.After)
		if t.Role == "assistant" {
			b.WriteString(p.EOS)
			open = false
		}
	}
	b.WriteString(p.Final)
	return b.String()
}
