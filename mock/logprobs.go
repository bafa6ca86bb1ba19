package mock

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// What is told of a token that was chosen, and of others in its place: each is less likely by one.
const chosenProb = -0.25

// maxAlternatives is how many OpenAI tells of.
const maxAlternatives = 20

// probs says how many tokens are told of in each place, beside the chosen one; 0: nothing is told of likelihoods.
type probs int

// openAIProbs is what a chat completion's request wants to know.
func (x *exchange) openAIProbs() probs {
	if !bytes.Contains(x.body, []byte(`"logprobs"`)) {
		return 0
	}
	var req struct {
		Logprobs bool  `json:"logprobs"`
		Top      probs `json:"top_logprobs"`
	}
	if json.Unmarshal(x.body, &req) != nil || !req.Logprobs { // completions have a number there
		return 0
	}
	return 1 + min(req.Top, maxAlternatives)
}

// likely calls tell with each of the tokens that could stand in the place of a piece, the piece first, and its likelihood.
func (p probs) likely(piece string, tell func(token string, prob float64)) {
	for i := range int(p) - 1 {
		token := piece
		if i > 0 {
			token = lorem[i%len(lorem)]
		}
		tell(token, chosenProb-float64(i))
	}
}

// appendOpenAI appends OpenAI's object for the pieces, which were refused with if refusal.
func (p probs) appendOpenAI(out []byte, pieces []string, refusal bool) []byte {
	if p == 0 || len(pieces) == 0 {
		return append(out, "null"...)
	}
	if refusal {
		return append(p.appendTokens(append(out, `{"content":null,"refusal":`...), pieces), '}')
	}
	return append(p.appendTokens(append(out, `{"content":`...), pieces), `,"refusal":null}`...)
}

func (p probs) appendTokens(out []byte, pieces []string) []byte {
	out = append(out, '[')
	for i, piece := range pieces {
		out = appendToken(comma(out, i), piece, chosenProb)
		out = append(out, `,"top_logprobs":[`...)
		n := 0
		p.likely(piece, func(token string, prob float64) {
			out = append(appendToken(comma(out, n), token, prob), '}')
			n++
		})
		out = append(out, "]}"...)
	}
	return append(out, ']')
}

// appendToken appends a token, which is as it stands in JSON, without the end of its object.
func appendToken(out []byte, token string, prob float64) []byte {
	out = append(append(append(out, `{"token":"`...), token...), `","logprob":`...)
	out = append(strconv.AppendFloat(out, prob, 'f', -1, 64), `,"bytes":[`...)
	var text string
	_ = json.Unmarshal([]byte(`"`+token+`"`), &text) // stands in an answer, too
	for i := range len(text) {
		out = strconv.AppendUint(comma(out, i), uint64(text[i]), 10)
	}
	return append(out, ']')
}

// appendGoogle appends Google's object for the pieces.
func (p probs) appendGoogle(out []byte, pieces []string) []byte {
	token := func(out []byte, text string, prob float64) []byte {
		out = append(append(append(out, `{"token":"`...), text...), `","logProbability":`...)
		return append(strconv.AppendFloat(out, prob, 'f', -1, 64), '}')
	}
	out = append(out, `{"chosenCandidates":[`...)
	for i, piece := range pieces {
		out = token(comma(out, i), piece, chosenProb)
	}
	out = append(out, `],"topCandidates":[`...)
	for i, piece := range pieces {
		out = append(comma(out, i), `{"candidates":[`...)
		n := 0
		p.likely(piece, func(text string, prob float64) {
			out = token(comma(out, n), text, prob)
			n++
		})
		out = append(out, "]}"...)
	}
	return append(out, "]}"...)
}

// comma appends one but before the first element.
func comma(out []byte, i int) []byte {
	if i > 0 {
		return append(out, ',')
	}
	return out
}
