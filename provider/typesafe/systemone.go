package typesafe

import (
	"errors"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/decision"
	"github.com/conclave-llm/conclave/llm/jsonread"
	"github.com/conclave-llm/conclave/provider/openai/decisions"
)

// The types of questions and answers.
const (
	typeNoul   = "noul"
	typeChoice = "choice"
	typeScore  = "score"
)

// SystemOne is the form of requests and answers.
type SystemOne struct{}

// DecodeRequest reads a client's request. Pictures and boxes in them have no words elsewhere.
func (SystemOne) DecodeRequest(body []byte) (*decision.Request, error) {
	r, req, some := jsonread.New(body), new(decision.Request), false
	r.Members(func(name string) {
		switch name {
		case "model":
			req.Model = r.Str()
		case "state":
			switch some = true; r.Next() {
			case '"':
				req.Text = r.Text()
			case '{', '[':
				req.Raw = r.Copy()
			default:
				r.Raw()
				r.Wrong("must be a string, an object or an array")
			}
		case "questions":
			r.Object(func(name string) {
				if r.Next() != '{' {
					r.Wrong("must be an object")
				}
				r.Within(func() { req.Questions = append(req.Questions, readQuestion(&r, name)) })
			})
		case "assets":
			if raw := r.Copy(); raw != nil && r.Fault == nil && r.Err() == nil {
				r.Fault = llm.Unsayable("assets", "The model's provider does not take assets: only one that speaks System One does.")
			}
		default:
			decisions.ReadExtra(&r, req, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	switch {
	case !some:
		return nil, jsonread.Invalid("state", "is missing")
	case len(req.Questions) == 0:
		return nil, jsonread.Invalid("questions", "must not be empty")
	}
	return req, nil
}

// readQuestion reads a question, whose criteria may stand before its type.
func readQuestion(r *jsonread.Reader, name string) decision.Question {
	q, kind, prefix := decision.Question{Name: name}, "", r.Prefix
	var criteria []byte
	r.Members(func(name string) {
		switch name {
		case "type":
			kind = r.Str()
		case "instructions":
			q.Instructions = text(r.Raw())
		case "criteria":
			criteria = r.Copy()
		default:
			r.Raw()
		}
	})
	switch kind {
	case typeNoul:
		readMeanings(criteria, &q)
	case typeChoice:
		q.Kind, q.Options = decision.Choice, readOptions(criteria)
	case typeScore:
		q.Kind, q.Levels = decision.Score, readLevels(criteria)
	default:
		if r.Fault == nil && r.Err() == nil {
			r.Fault = llm.Unsayable(prefix+"type", "The type "+strconv.Quote(kind)+" is none that the model's provider answers: noul, choice or score.")
		}
		return q
	}
	switch {
	case q.Kind != decision.Predicate && len(q.Options)+len(q.Levels) == 0:
		r.WrongAt(prefix+"criteria", "must not be empty")
	case q.Kind == decision.Predicate && q.Instructions+q.True+q.False == "":
		r.WrongAt(prefix+"instructions", "must be there, or criteria")
	}
	return q
}

func readOptions(criteria []byte) (options []decision.Option) {
	c := llm.NewCursor(criteria)
	for n := 0; c.Member(n); n++ {
		value := string(c.Name())
		options = append(options, decision.Option{Value: value, Description: text(c.Raw())})
	}
	return options
}

func readLevels(criteria []byte) (levels []decision.Level) {
	c := llm.NewCursor(criteria)
	for n := 0; c.Element(n); n++ {
		levels = append(levels, decision.Level{Label: text(c.Raw())})
	}
	return levels
}

// readMeanings reads what yes and no mean.
func readMeanings(criteria []byte, q *decision.Question) {
	c := llm.NewCursor(criteria)
	for n := 0; len(criteria) > 0 && c.Member(n); n++ {
		switch string(c.Name()) {
		case "true":
			q.True = text(c.Raw())
		case "false":
			q.False = text(c.Raw())
		default:
			c.Raw()
		}
	}
}

// text is a value as a text: a string's own, of anything else its JSON, "" for null.
func text(raw []byte) string {
	if len(raw) == 0 || raw[0] == 'n' {
		return ""
	}
	if raw[0] == '"' {
		c := llm.NewCursor(raw)
		return c.Text()
	}
	return string(raw)
}

// EncodeRequest writes a request for the provider.
func (SystemOne) EncodeRequest(req *decision.Request, t *llm.Target) ([]byte, error) {
	dst := llm.AppendKey(llm.AppendString([]byte(`{"model":`), t.Model), "state")
	if req.Raw != nil {
		dst = llm.AppendRaw(dst, req.Raw)
	} else {
		dst = llm.AppendString(dst, req.Text)
	}
	dst = append(llm.AppendKey(dst, "questions"), '{')
	for i, key := range req.Keys() {
		dst = append(llm.AppendString(llm.AppendComma(dst), key), ':')
		dst = appendQuestion(dst, &req.Questions[i])
	}
	return append(t.AppendExtra(append(dst, '}'), req.Extra), '}'), nil
}

func appendQuestion(dst []byte, q *decision.Question) []byte {
	kinds := [...]string{decision.Predicate: typeNoul, decision.Choice: typeChoice, decision.Score: typeScore}
	dst = llm.AppendString(append(dst, `{"type":`...), kinds[q.Kind])
	if q.Instructions != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "instructions"), q.Instructions)
	}
	switch q.Kind {
	case decision.Predicate:
		if q.True != "" || q.False != "" {
			dst = appendDescription(append(llm.AppendKey(dst, "criteria"), `{"true":`...), q.True)
			dst = append(appendDescription(append(dst, `,"false":`...), q.False), '}')
		}
	case decision.Choice:
		dst = append(llm.AppendKey(dst, "criteria"), '{')
		for _, o := range q.Options {
			dst = append(llm.AppendString(llm.AppendComma(dst), o.Value), ':')
			dst = appendDescription(dst, o.Description)
		}
		dst = append(dst, '}')
	case decision.Score:
		dst = append(llm.AppendKey(dst, "criteria"), '[')
		for _, l := range q.Levels {
			dst = llm.AppendString(llm.AppendComma(dst), levelText(l))
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func appendDescription(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return llm.AppendString(dst, s)
}

// levelText is a level in one text.
func levelText(l decision.Level) string {
	if l.Description == "" {
		return l.Label
	}
	return l.Label + ": " + l.Description
}

// EncodeResponse writes the answer to a client. Questions that the model does not answer are left out.
func (SystemOne) EncodeResponse(req *decision.Request, res *decision.Response) ([]byte, error) {
	dst := append(llm.AppendString([]byte(`{"model":`), res.Model), `,"answers":{`...)
	for i, key := range req.Keys() {
		if res.Answers[i].Kind == decision.Refused {
			continue
		}
		dst = append(llm.AppendString(llm.AppendComma(dst), key), ':')
		dst = appendAnswer(dst, &req.Questions[i], &res.Answers[i])
	}
	dst = strconv.AppendInt(append(dst, `},"usage":{"input_tokens":`...), res.Usage.Prompt(), 10)
	dst = strconv.AppendInt(append(dst, `,"output_tokens":`...), res.Usage.Completion(), 10)
	return append(dst, "}}"...), nil
}

func appendAnswer(dst []byte, q *decision.Question, a *decision.Answer) []byte {
	switch a.Kind {
	case decision.Choice:
		dst = llm.AppendString(append(dst, `{"type":"choice","choice":`...), a.Choice)
		dst = append(appendNumber(append(dst, `,"confidence":`...), a.Confidence), `,"probabilities":{`...)
		for _, o := range q.Options {
			dst = append(llm.AppendString(llm.AppendComma(dst), o.Value), ':')
			dst = appendNumber(dst, a.Probabilities[o.Value])
		}
	case decision.Score:
		dst = appendNumber(append(dst, `{"type":"score","score":`...), a.Score)
		dst = append(appendNumber(append(dst, `,"confidence":`...), a.Confidence), `,"legend":{`...)
		for i, l := range q.Levels {
			dst = llm.AppendString(llm.AppendKey(dst, strconv.Itoa(i)), levelText(l))
		}
		dst = append(dst, `},"probabilities":{`...)
		for i := range q.Levels {
			level := strconv.Itoa(i)
			dst = appendNumber(llm.AppendKey(dst, level), a.Probabilities[level])
		}
	default:
		return append(appendNumber(append(dst, `{"type":"noul","noul":`...), a.Probability), '}')
	}
	return append(dst, "}}"...)
}

func appendNumber(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'g', -1, 64) }

// errNone is an answer without answers.
var errNone = errors.New("it has no answers")

// DecodeResponse reads an answer to the request. What the model leaves out is refused.
func (SystemOne) DecodeResponse(req *decision.Request, body []byte) (*decision.Response, error) {
	c, res, some := llm.NewCursor(body), new(decision.Response), false
	res.Answers = make([]decision.Answer, len(req.Questions))
	at := make(map[string]int, len(req.Questions))
	for i, key := range req.Keys() {
		at[key], res.Answers[i].Kind = i, decision.Refused
	}
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "model":
			res.Model = c.Text()
		case "answers":
			some = c.Next() == '{'
			for m := 0; c.Member(m); m++ {
				i, asked := at[string(c.Name())]
				a, err := words.Read(&c)
				if err != nil {
					return nil, err
				}
				if asked && a.Kind == req.Questions[i].Kind {
					res.Answers[i] = a
				}
			}
		default:
			c.Raw()
		}
	}
	if err := c.End(); err != nil {
		return nil, decision.Malformed(err)
	}
	if !some {
		return nil, decision.Malformed(errNone)
	}
	return res, nil
}

// words are how an answer is said.
var words = decision.Words{
	Kinds:     map[string]decision.Kind{typeNoul: decision.Predicate, typeChoice: decision.Choice, typeScore: decision.Score},
	Predicate: "noul",
	Probabilities: func(v *decision.Values, into map[string]float64) {
		for n := 0; v.Member(n); n++ {
			name := string(v.Name())
			into[name] = v.Number()
		}
	},
}
