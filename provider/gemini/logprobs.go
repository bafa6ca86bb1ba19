package gemini

import (
	"bytes"
	"cmp"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
)

// tokenProb is a token and its logarithmic probability, as it stands there.
type tokenProb struct {
	token string
	prob  []byte
}

func readProb(s *llm.Cursor) (t tokenProb) {
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "token":
			t.token = s.Text()
		case "logProbability":
			if v := s.Raw(); len(v) > 0 && v[0] != 'n' && v[0] != '"' && v[0] != '{' && v[0] != '[' {
				t.prob = v
			}
		default:
			s.Raw()
		}
	}
	return t
}

func (t *tokenProb) append(dst []byte) []byte {
	dst = llm.AppendString(append(dst, `{"token":`...), t.token)
	dst = append(append(dst, `,"logprob":`...), cmp.Or(string(t.prob), "0")...)
	dst = append(dst, `,"bytes":[`...)
	for i := range len(t.token) {
		dst = strconv.AppendUint(llm.AppendComma(dst), uint64(t.token[i]), 10)
	}
	return append(dst, ']')
}

// openAIProbs is OpenAI's logprobs object of a logprobsResult; nil if it has none.
func openAIProbs(raw []byte) []byte {
	var chosen []tokenProb
	var top [][]tokenProb
	s := llm.NewCursor(raw)
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "chosenCandidates":
			for m := 0; s.Element(m); m++ {
				chosen = append(chosen, readProb(&s))
			}
		case "topCandidates":
			for m := 0; s.Element(m); m++ {
				top = append(top, readTop(&s))
			}
		default:
			s.Raw()
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	out := []byte(`{"content":[`)
	for i := range chosen {
		out = chosen[i].append(llm.AppendComma(out))
		out = append(out, `,"top_logprobs":[`...)
		if i < len(top) {
			for j := range top[i] {
				out = append(top[i][j].append(llm.AppendComma(out)), '}')
			}
		}
		out = append(out, "]}"...)
	}
	return append(out, `],"refusal":null}`...)
}

func readTop(s *llm.Cursor) (list []tokenProb) {
	for n := 0; s.Member(n); n++ {
		if string(s.Name()) != "candidates" {
			s.Raw()
			continue
		}
		for m := 0; s.Element(m); m++ {
			list = append(list, readProb(s))
		}
	}
	return list
}

// appendProbs appends the logprobsResult of OpenAI's logprobs object.
func appendProbs(dst, raw []byte) []byte {
	var chosen, top []byte
	s := llm.NewCursor(raw)
	for n := 0; s.Member(n); n++ {
		if string(s.Name()) != "content" {
			s.Raw()
			continue
		}
		for m := 0; s.Element(m); m++ {
			chosen, top = appendToken(chosen, top, s.Raw())
		}
	}
	dst = append(append(dst, `{"chosenCandidates":[`...), chosen...)
	dst = append(append(dst, `],"topCandidates":[`...), top...)
	return append(dst, "]}"...)
}

// appendToken appends one of OpenAI's tokens to both lists.
func appendToken(chosen, top, raw []byte) (c, t []byte) {
	chosen = appendGoogleProb(llm.AppendComma(chosen), raw)
	top = append(llm.AppendComma(top), `{"candidates":[`...)
	s := llm.NewCursor(raw)
	for n := 0; s.Member(n); n++ {
		if string(s.Name()) != "top_logprobs" {
			s.Raw()
			continue
		}
		for m := 0; s.Element(m); m++ {
			top = appendGoogleProb(llm.AppendComma(top), s.Raw())
		}
	}
	return chosen, append(top, "]}"...)
}

func appendGoogleProb(dst, raw []byte) []byte {
	var token string
	prob := []byte("0")
	s := llm.NewCursor(raw)
	for n := 0; s.Member(n); n++ {
		switch string(s.Name()) {
		case "token":
			token = s.Text()
		case "logprob":
			if v := s.Raw(); len(v) > 0 && !bytes.ContainsAny(v[:1], `n"{[`) {
				prob = v
			}
		default:
			s.Raw()
		}
	}
	dst = llm.AppendString(append(dst, `{"token":`...), token)
	return append(append(append(dst, `,"logProbability":`...), prob...), '}')
}
