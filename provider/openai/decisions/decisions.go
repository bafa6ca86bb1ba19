// Package decisions reads and writes OpenAI's decisions: questions about a text or a conversation, whose
// answers have a type and their probabilities.
package decisions

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/decision"
	"github.com/conclave-llm/conclave/llm/jsonread"
)

// The types of questions and answers.
const (
	typePredicate = "predicate"
	typeChoice    = "choice"
	typeScore     = "score"
	typeRefusal   = "refusal"
)

// Format is the form of requests and answers.
type Format struct{}

// DecodeRequest reads a client's request. Pictures have no words in other forms.
func (Format) DecodeRequest(body []byte) (*decision.Request, error) {
	r, req := jsonread.New(body), new(decision.Request)
	r.Members(func(name string) {
		switch name {
		case "model":
			req.Model = r.Str()
		case "input":
			readInput(&r, req)
		case "questions":
			r.List(func(int) { req.Questions = append(req.Questions, readQuestion(&r)) })
		default:
			ReadExtra(&r, req, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	switch {
	case req.Text == "" && req.Raw == nil:
		return nil, jsonread.Invalid("input", "must not be empty")
	case len(req.Questions) == 0:
		return nil, jsonread.Invalid("questions", "must not be empty")
	}
	return req, nil
}

// ReadExtra keeps a member at the top that has no field, unless the gateway alone understands it.
func ReadExtra(r *jsonread.Reader, req *decision.Request, name string) {
	if slices.Contains(llm.OwnFields(), name) {
		r.Raw()
		return
	}
	if raw := r.Copy(); raw != nil {
		req.Extra = append(req.Extra, llm.Member{Name: name, Value: raw})
	}
}

// readInput reads a text, or the items of a conversation. The texts of users alone are one text; with
// others among them, the conversation is judged as JSON.
func readInput(r *jsonread.Reader, req *decision.Request) {
	if r.Next() == '"' {
		req.Text = r.Text()
		return
	}
	var users []string
	mixed, all := false, []byte{'['}
	r.List(func(int) {
		item := readItem(r)
		all = append(llm.AppendComma(all), item.json()...)
		if item.kind != "message" || item.role != "user" {
			mixed = true
		}
		users = append(users, item.text)
	})
	if mixed {
		req.Raw = append(all, ']')
		return
	}
	req.Text = strings.Join(users, "\n\n")
}

// item is one of a conversation: a message, a call of a tool, or what came of it.
type item struct {
	kind, role, name, call, text string
}

func readItem(r *jsonread.Reader) item {
	it := item{kind: "message"}
	r.Entry(func(name string) {
		switch name {
		case "type":
			if kind := r.Str(); kind != "" {
				it.kind = kind
			}
		case "role":
			it.role = r.Str()
		case "name":
			it.name = r.Str()
		case "call_id":
			it.call = r.Str()
		case "content", "output", "input", "arguments":
			it.text = readParts(r)
		default:
			r.Raw()
		}
	})
	return it
}

// json is the item without what only its own dialect knows.
func (it *item) json() []byte {
	dst := []byte{'{'}
	for _, m := range [...]struct{ name, value string }{
		{"type", it.kind}, {"role", it.role}, {"name", it.name}, {"call_id", it.call}, {"content", it.text},
	} {
		if m.value != "" && (m.name != "type" || m.value != "message") {
			dst = llm.AppendString(llm.AppendKey(dst, m.name), m.value)
		}
	}
	return append(dst, '}')
}

// readParts reads a text, or parts of it: texts and JSON, which is written out.
func readParts(r *jsonread.Reader) string {
	if r.Next() == '"' {
		return r.Text()
	}
	var parts []string
	r.List(func(int) {
		at, kind, value := r.Prefix, "", ""
		r.Entry(func(name string) {
			switch name {
			case "type":
				kind = r.Str()
			case "text", "refusal":
				value = r.Str()
			case "data":
				value = string(r.Raw())
			default:
				r.Raw()
			}
		})
		if kind == "input_image" && r.Fault == nil && r.Err() == nil {
			r.Fault = llm.Unsayable(at+"type", "The model's provider takes texts alone: ask one that speaks OpenAI's decisions about pictures.")
		}
		parts = append(parts, value)
	})
	return strings.Join(parts, "\n\n")
}

// readQuestion reads one question.
func readQuestion(r *jsonread.Reader) decision.Question {
	var q decision.Question
	kind, at := "", r.Prefix
	r.Entry(func(name string) {
		switch name {
		case "type":
			kind = r.Str()
		case "name":
			q.Name = r.Str()
		case "instructions":
			q.Instructions = readParts(r)
		case "choices":
			r.List(func(int) { q.Options = append(q.Options, readOption(r)) })
		case "levels":
			r.List(func(int) { q.Levels = append(q.Levels, readLevel(r)) })
		default:
			r.Raw()
		}
	})
	switch kind {
	case typePredicate:
		if q.Instructions == "" {
			r.WrongAt(at+"instructions", "must not be empty")
		}
	case typeChoice:
		q.Kind = decision.Choice
		if !distinct(q.Options) {
			r.WrongAt(at+"choices", "must be at least one, and no two the same")
		}
	case typeScore:
		q.Kind = decision.Score
		if len(q.Levels) == 0 {
			r.WrongAt(at+"levels", "must not be empty")
		}
	default:
		r.WrongAt(at+"type", "must be predicate, choice or score")
	}
	return q
}

// distinct says that there are options, no two of the same name.
func distinct(options []decision.Option) bool {
	seen := make(map[string]bool, len(options))
	for _, o := range options {
		seen[o.Value] = true
	}
	return len(options) > 0 && len(seen) == len(options)
}

func readOption(r *jsonread.Reader) (o decision.Option) {
	r.Entry(func(name string) {
		switch name {
		case "value":
			if next := r.Next(); next == 't' || next == 'f' {
				o.Bool = true
				o.Value = strconv.FormatBool(r.True())
				return
			}
			o.Value = r.Str()
		case "description":
			o.Description = r.Str()
		default:
			r.Raw()
		}
	})
	return o
}

func readLevel(r *jsonread.Reader) (l decision.Level) {
	r.Entry(func(name string) {
		switch name {
		case "label":
			l.Label = r.Str()
		case "description":
			l.Description = r.Str()
		default:
			r.Raw()
		}
	})
	return l
}

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *decision.Request, t *llm.Target) ([]byte, error) {
	input := req.Text
	if req.Raw != nil {
		input = string(req.Raw)
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = append(llm.AppendString(llm.AppendKey(dst, "input"), input), `,"questions":[`...)
	for i := range req.Questions {
		dst = appendQuestion(llm.AppendComma(dst), &req.Questions[i])
	}
	return append(t.AppendExtra(append(dst, ']'), req.Extra, "safety_identifier", "prompt_cache_key", "prompt_cache_options"), '}'), nil
}

func appendQuestion(dst []byte, q *decision.Question) []byte {
	kinds := [...]string{decision.Predicate: typePredicate, decision.Choice: typeChoice, decision.Score: typeScore}
	dst = llm.AppendString(append(dst, `{"type":`...), kinds[q.Kind])
	if q.Name != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "name"), q.Name)
	}
	dst = llm.AppendString(llm.AppendKey(dst, "instructions"), instructions(q))
	switch q.Kind {
	case decision.Choice:
		dst = append(llm.AppendKey(dst, "choices"), '[')
		for _, o := range q.Options {
			dst = appendDescribed(appendValue(append(llm.AppendComma(dst), `{"value":`...), o), o.Description)
		}
		dst = append(dst, ']')
	case decision.Score:
		dst = append(llm.AppendKey(dst, "levels"), '[')
		for _, l := range q.Levels {
			dst = appendDescribed(llm.AppendString(append(llm.AppendComma(dst), `{"label":`...), l.Label), l.Description)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// instructions are what is asked, with what the answers of a predicate mean, which has no field.
func instructions(q *decision.Question) string {
	lines := make([]string, 0, 3)
	for _, line := range [...]struct{ head, text string }{{"", q.Instructions}, {"True: ", q.True}, {"False: ", q.False}} {
		if line.text != "" {
			lines = append(lines, line.head+line.text)
		}
	}
	return strings.Join(lines, "\n")
}

func appendValue(dst []byte, o decision.Option) []byte {
	if o.Bool {
		return append(dst, o.Value...)
	}
	return llm.AppendString(dst, o.Value)
}

func appendDescribed(dst []byte, description string) []byte {
	if description != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "description"), description)
	}
	return append(dst, '}')
}

// EncodeResponse writes the answer to a client.
func (Format) EncodeResponse(req *decision.Request, res *decision.Response) ([]byte, error) {
	dst := append(llm.AppendString([]byte(`{"model":`), res.Model), `,"answers":[`...)
	for i := range res.Answers {
		dst = appendAnswer(llm.AppendComma(dst), &req.Questions[i], &res.Answers[i])
	}
	u := res.Usage
	for _, m := range [...]struct {
		name string
		n    int64
	}{
		{`],"usage":{"input_tokens":`, u.Prompt()},
		{`,"input_tokens_details":{"cached_tokens":`, u.CacheRead},
		{`,"cache_write_tokens":`, u.CacheWrite + u.CacheWrite1h},
		{`},"output_tokens":`, u.Completion()},
		{`,"output_tokens_details":{"reasoning_tokens":`, u.Reasoning},
		{`},"total_tokens":`, u.Prompt() + u.Completion()},
	} {
		dst = strconv.AppendInt(append(dst, m.name...), m.n, 10)
	}
	return append(dst, "}}"...), nil
}

func appendAnswer(dst []byte, q *decision.Question, a *decision.Answer) []byte {
	kinds := [...]string{decision.Predicate: typePredicate, decision.Choice: typeChoice, decision.Score: typeScore, decision.Refused: typeRefusal}
	dst = append(llm.AppendString(append(dst, `{"type":`...), kinds[a.Kind]), `,"name":`...)
	if q.Name == "" {
		dst = append(dst, "null"...)
	} else {
		dst = llm.AppendString(dst, q.Name)
	}
	switch a.Kind {
	case decision.Predicate:
		dst = appendNumber(llm.AppendKey(dst, "probability"), a.Probability)
	case decision.Choice:
		dst = appendValue(llm.AppendKey(dst, "choice"), chosen(q, a.Choice))
		dst = append(appendNumber(llm.AppendKey(dst, "confidence"), a.Confidence), `,"probabilities":[`...)
		for _, o := range q.Options {
			dst = appendValue(append(llm.AppendComma(dst), `{"value":`...), o)
			dst = append(appendNumber(llm.AppendKey(dst, "probability"), a.Probabilities[o.Value]), '}')
		}
		dst = append(dst, ']')
	case decision.Score:
		dst = appendNumber(llm.AppendKey(dst, "score"), a.Score)
		dst = append(appendNumber(llm.AppendKey(dst, "confidence"), a.Confidence), `,"probabilities":[`...)
		for i, l := range q.Levels {
			dst = strconv.AppendInt(append(llm.AppendComma(dst), `{"value":`...), int64(i), 10)
			dst = llm.AppendString(llm.AppendKey(dst, "label"), l.Label)
			dst = append(appendNumber(llm.AppendKey(dst, "probability"), a.Probabilities[strconv.Itoa(i)]), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// chosen is the option that the answer names.
func chosen(q *decision.Question, value string) decision.Option {
	if i := slices.IndexFunc(q.Options, func(o decision.Option) bool { return o.Value == value }); i >= 0 {
		return q.Options[i]
	}
	return decision.Option{Value: value}
}

func appendNumber(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'g', -1, 64) }

// errOther is an answer that does not fit the questions.
var errOther = errors.New("it answers other questions than were asked")

// DecodeResponse reads an answer to the request, in the order of its questions.
func (Format) DecodeResponse(req *decision.Request, body []byte) (*decision.Response, error) {
	c, res := llm.NewCursor(body), new(decision.Response)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "model":
			res.Model = c.Text()
		case "answers":
			for m := 0; c.Element(m); m++ {
				a, err := words.Read(&c)
				if err != nil {
					return nil, err
				}
				res.Answers = append(res.Answers, a)
			}
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return nil, decision.Malformed(err)
	}
	if len(res.Answers) != len(req.Questions) {
		return nil, decision.Malformed(errOther)
	}
	for i, a := range res.Answers {
		if a.Kind != decision.Refused && a.Kind != req.Questions[i].Kind {
			return nil, decision.Malformed(errOther)
		}
	}
	return res, nil
}

// words are how an answer is said.
var words = decision.Words{
	Kinds:     map[string]decision.Kind{typePredicate: decision.Predicate, typeChoice: decision.Choice, typeScore: decision.Score},
	Predicate: "probability",
	Probabilities: func(v *decision.Values, into map[string]float64) {
		for n := 0; v.Element(n); n++ {
			readProbability(v, into)
		}
	},
}

func readProbability(v *decision.Values, into map[string]float64) {
	value, p := "", 0.0
	for n := 0; v.Member(n); n++ {
		switch string(v.Name()) {
		case "value":
			value = v.Value()
		case "probability":
			p = v.Number()
		default:
			v.Raw()
		}
	}
	into[value] = p
}
