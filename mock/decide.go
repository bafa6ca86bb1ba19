package mock

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// question is one of a request for decisions, in OpenAI's form or in TypeSafe's.
type question struct {
	Type         string `json:"type"`
	Name         string `json:"name"`
	Instructions string `json:"instructions"`
	Choices      []struct {
		Value       any    `json:"value"`
		Description string `json:"description"`
	} `json:"choices"`
	Levels []struct {
		Label string `json:"label"`
	} `json:"levels"`
	Criteria json.RawMessage `json:"criteria"`
}

// errQuestions refuses a request for decisions.
func errQuestions(why string) error {
	return &llm.Error{Kind: llm.Invalid, Param: "questions", Message: "The questions cannot be answered: " + why + "."}
}

// shared counts the words of at least three letters that both texts have.
func shared(a, b string) (n int) {
	has := map[string]bool{}
	for w := range strings.FieldsFuncSeq(strings.ToLower(a), notLetter) {
		has[w] = true
	}
	for w := range strings.FieldsFuncSeq(strings.ToLower(b), notLetter) {
		if len(w) >= 3 && has[w] {
			n++
		}
	}
	return n
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

// sayable is the probability of a statement: high if the text has a word of it.
func sayable(text, statement string) float64 {
	if shared(text, statement) > 0 {
		return 0.875
	}
	return 0.125
}

// weigh gives the best of several, the first of those that have the most words of the text, its
// probability, and that of each other.
func weigh(text string, labels []string) (best int, p, rest float64) {
	most := 0
	for i, l := range labels {
		if n := shared(text, l); n > most {
			best, most = i, n
		}
	}
	if len(labels) == 1 {
		return 0, 1, 0
	}
	return best, 0.75, 0.25 / float64(len(labels)-1)
}

// decisions answers OpenAI's.
func (s *Server) decisions(x *exchange) error {
	var req struct {
		Input     json.RawMessage `json:"input"`
		Questions []question      `json:"questions"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil || len(req.Questions) == 0 {
		return errQuestions("there must be a list of them")
	}
	answers := make([]map[string]any, 0, len(req.Questions))
	for i := range req.Questions {
		q, text := &req.Questions[i], string(req.Input)
		a := map[string]any{"type": q.Type, "name": nil}
		if q.Name != "" {
			a["name"] = q.Name
		}
		switch q.Type {
		case "predicate":
			a["probability"] = sayable(text, q.Instructions)
		case "choice":
			labels := make([]string, len(q.Choices))
			for i, c := range q.Choices {
				value, _ := c.Value.(string)
				labels[i] = value + " " + c.Description
			}
			best, p, rest := weigh(text, labels)
			all := make([]map[string]any, len(labels))
			for i, c := range q.Choices {
				all[i] = map[string]any{"value": c.Value, "probability": rest}
			}
			if len(all) < 2 {
				return errQuestions("a choice needs two at least")
			}
			all[best]["probability"] = p
			a["choice"], a["confidence"], a["probabilities"] = q.Choices[best].Value, p, all
		case "score":
			labels := make([]string, len(q.Levels))
			for i, l := range q.Levels {
				labels[i] = l.Label
			}
			best, p, rest := weigh(text, labels)
			all := make([]map[string]any, len(labels))
			for i, l := range labels {
				all[i] = map[string]any{"value": i, "label": l, "probability": rest}
			}
			if len(all) < 2 {
				return errQuestions("a score needs two levels at least")
			}
			all[best]["probability"] = p
			a["score"], a["confidence"], a["probabilities"] = best, p, all
		default:
			return errQuestions("there is no type " + strconv.Quote(q.Type))
		}
		answers = append(answers, a)
	}
	in, out := x.decided(len(answers))
	return x.json(map[string]any{"model": x.fields.Model, "answers": answers, "usage": map[string]any{
		"input_tokens": in, "input_tokens_details": map[string]int{"cached_tokens": 0, "cache_write_tokens": 0},
		"output_tokens": out, "output_tokens_details": map[string]int{"reasoning_tokens": 0}, "total_tokens": in + out,
	}})
}

// systemOne answers TypeSafe's.
func (s *Server) systemOne(x *exchange) error {
	var req struct {
		State     json.RawMessage     `json:"state"`
		Questions map[string]question `json:"questions"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil || len(req.Questions) == 0 {
		return errQuestions("there must be an object of them")
	}
	answers := make(map[string]any, len(req.Questions))
	for name, q := range req.Questions {
		text := string(req.State)
		switch q.Type {
		case "noul":
			answers[name] = map[string]any{"type": q.Type, "noul": sayable(text, q.Instructions)}
		case "choice":
			var criteria map[string]*string
			if json.Unmarshal(q.Criteria, &criteria) != nil || len(criteria) == 0 {
				return errQuestions("a choice needs criteria")
			}
			values := slices.Sorted(maps.Keys(criteria))
			labels := slices.Clone(values)
			for i, value := range values {
				if description := criteria[value]; description != nil {
					labels[i] += " " + *description
				}
			}
			best, p, rest := weigh(text, labels)
			all := make(map[string]float64, len(values))
			for _, v := range values {
				all[v] = rest
			}
			all[values[best]] = p
			answers[name] = map[string]any{"type": q.Type, "choice": values[best], "confidence": p, "probabilities": all}
		case "score":
			var levels []string
			if json.Unmarshal(q.Criteria, &levels) != nil || len(levels) == 0 {
				return errQuestions("a score needs criteria")
			}
			best, p, rest := weigh(text, levels)
			legend, all := map[string]string{}, map[string]float64{}
			for i, l := range levels {
				legend[strconv.Itoa(i)], all[strconv.Itoa(i)] = l, rest
			}
			all[strconv.Itoa(best)] = p
			answers[name] = map[string]any{"type": q.Type, "score": best, "confidence": p, "legend": legend, "probabilities": all}
		default:
			return errQuestions("there is no type " + strconv.Quote(q.Type))
		}
	}
	in, out := x.decided(len(answers))
	return x.json(map[string]any{"model": x.fields.Model, "answers": answers, "usage": map[string]int64{"input_tokens": in, "output_tokens": out}})
}

// extract answers which words of a text those kinds name that are asked for.
func (s *Server) extract(x *exchange) error {
	var req struct {
		State    json.RawMessage   `json:"state"`
		Entities map[string]string `json:"entities"`
	}
	if err := json.Unmarshal(x.body, &req); err != nil || len(req.Entities) == 0 {
		return &llm.Error{Kind: llm.Invalid, Param: "entities", Message: "The request must name entities."}
	}
	found := make(map[string][]map[string]string, len(req.Entities))
	for kind, description := range req.Entities {
		found[kind] = []map[string]string{}
		for w := range strings.FieldsFuncSeq(strings.ToLower(string(req.State)), notLetter) {
			if shared(w, kind+" "+description) > 0 {
				found[kind] = append(found[kind], map[string]string{"text": w})
			}
		}
	}
	in, out := x.decided(0)
	return x.json(map[string]any{"model": x.fields.Model, "entities": found, "usage": map[string]int64{"input_tokens": in, "output_tokens": out}})
}

// decided counts what is billed: a token for four bytes of the request, and one for each answer.
func (x *exchange) decided(answers int) (in, out int64) {
	in, out = int64(len(x.body)+3)/4, int64(answers)
	for i, to := range []*int64{&in, &out} {
		if i < len(x.plan.usage) {
			*to = x.plan.usage[i]
		}
	}
	x.entry.PromptTokens, x.entry.CompletionTokens = in, out
	return in, out
}
