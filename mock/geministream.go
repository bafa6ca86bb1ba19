package mock

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// googleAnswer is a reply in Google's format.
type googleAnswer struct {
	x  *exchange
	rp *reply
	id uint64
}

// candidate appends an answer, or an event of one, up to what follows the candidates: each choice
// with the parts, with the reason to end unless that is "", and with the pieces' likelihoods where they are wanted.
func (g *googleAnswer) candidate(out []byte, parts, finish string, pieces []string) []byte {
	out = append(out, `{"candidates":[`...)
	for i := range g.x.fields.N {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, `{"content":{"parts":[`...), parts...), `],"role":"model"}`...)
		if finish != "" {
			out = append(append(append(out, `,"finishReason":"`...), finish...), '"')
		}
		if g.rp.probs > 0 && len(pieces) > 0 {
			out = g.rp.probs.appendGoogle(append(out, `,"logprobsResult":`...), pieces)
		}
		out = append(strconv.AppendInt(append(out, `,"index":`...), i, 10), '}')
	}
	return append(out, ']')
}

// tail appends what names the answer, and the usage.
func (g *googleAnswer) tail(out []byte, u usage) []byte {
	out = append(out, `,"usageMetadata":`...)
	out = u.appendGoogle(out)
	out = llm.AppendString(append(out, `,"modelVersion":`...), g.x.fields.Model)
	return append(strconv.AppendUint(append(out, `,"responseId":"mock-`...), g.id, 10), `"}`...)
}

// part is a part with a text, which is as it stands in JSON.
func part(text, more string) string { return `{"text":"` + text + `"` + more + `}` }

// call is the part of the call, which is signed.
func (g *googleAnswer) call() string {
	var args string
	_ = json.Unmarshal([]byte(`"`+strings.Join(g.rp.args, "")+`"`), &args) // was made by pieces
	return `{"functionCall":{"id":"fc_` + strconv.FormatUint(g.id, 10) + `","name":` + string(llm.AppendString(nil, g.rp.tool)) + `,"args":` + args +
		`},"thoughtSignature":"` + signature + `"}`
}

// whole is the whole answer.
func (g *googleAnswer) whole() []byte {
	var parts []string
	if len(g.rp.thinks) > 0 {
		parts = append(parts, part(strings.Join(g.rp.thinks, ""), `,"thought":true`))
	}
	switch {
	case g.rp.tool != "":
		parts = append(parts, g.call())
	case len(g.rp.thinks) > 0:
		parts = append(parts, part(strings.Join(g.rp.pieces, ""), `,"thoughtSignature":"`+signature+`"`))
	default:
		parts = append(parts, part(strings.Join(g.rp.pieces, ""), ""))
	}
	return g.tail(g.candidate(make([]byte, 0, 1<<10), strings.Join(parts, ","), g.rp.finish, g.rp.pieces), g.rp.usage)
}

// piece is the parts of the token number i. A call comes whole, with the last of its tokens.
func (g *googleAnswer) piece(i int) string {
	n := len(g.rp.thinks)
	switch {
	case i < n:
		return part(g.rp.thinks[i], `,"thought":true`)
	case g.rp.tool != "" && i == g.rp.tokens()-1:
		return g.call()
	case g.rp.tool != "":
		return ""
	case i == n && n > 0:
		return part(g.rp.pieces[i-n], `,"thoughtSignature":"`+signature+`"`)
	}
	return part(g.rp.pieces[i-n], "")
}

// said is the piece of the token number i, if it is one.
func (g *googleAnswer) said(i int) []string {
	if i -= len(g.rp.thinks); i < 0 || g.rp.tool != "" {
		return nil
	}
	return g.rp.pieces[i : i+1]
}

// stream sends the reply as server-sent events, or as an array if the client does not ask for them.
func (g *googleAnswer) stream() error {
	x, rp := g.x, g.rp
	open, next, end := "data: ", "\r\n\r\ndata: ", "\r\n\r\n"
	typ := "text/event-stream; charset=utf-8"
	if x.r.URL.Query().Get("alt") != "sse" {
		open, next, end, typ = "[", ",\r\n", "]", "application/json; charset=UTF-8"
	}
	x.w.Header()["Content-Type"] = []string{typ}
	out := append(make([]byte, 0, 4<<10), open...)
	begun := false
	event := func(parts, finish string, pieces []string, u usage) {
		if begun {
			out = append(out, next...)
		}
		begun = true
		out = g.tail(g.candidate(out, parts, finish, pieces), u)
	}
	sofar := usage{prompt: rp.usage.prompt, cached: rp.usage.cached}
	for i := range rp.tokens() + 1 {
		if going, sent := x.pace(&out, i); !going {
			x.bill(rp, sent, false)
			return nil
		}
		if i == rp.tokens() {
			break
		}
		if p := g.piece(i); p != "" {
			event(p, "", g.said(i), sofar)
		}
	}
	event(part("", ""), rp.finish, nil, rp.usage)
	_, err := x.w.Write(append(out, end...))
	x.bill(rp, rp.tokens(), err == nil)
	return nil
}

// appendGoogle appends usage as Google has it: what was thought stands beside the rest.
func (u usage) appendGoogle(out []byte) []byte {
	for _, f := range []struct {
		name string
		n    int64
	}{
		{`{"promptTokenCount":`, u.prompt},
		{`,"candidatesTokenCount":`, max(0, u.completion-u.reasoning)},
		{`,"totalTokenCount":`, u.prompt + u.completion},
		{`,"cachedContentTokenCount":`, u.cached},
		{`,"thoughtsTokenCount":`, u.reasoning},
	} {
		out = append(out, f.name...)
		out = strconv.AppendInt(out, f.n, 10)
	}
	return append(out, '}')
}
