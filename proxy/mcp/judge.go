package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/llm"
)

// maxNesting bounds the values that guardrails can be shown.
const maxNesting = 64

// media are the members of results that hold encoded bytes or say what they are.
var media = map[string]bool{"data": true, "blob": true, "type": true, "mimeType": true}

// free are the members of results, and of what they consist of, whose values are a server's own: no name in them
// means anything here.
var free = map[string]bool{"structuredContent": true, "_meta": true}

// document is a JSON value whose texts guardrails see and may change: the strings and numbers in
// it, wherever they stand, and the names of members that are not the protocol's. Those of arguments cannot be
// changed.
type document struct {
	root   any
	result bool // of a server: what stands in media is no text
	texts  []text
}

type text struct {
	now string
	set func(string) error
}

// Why a change of a name is refused.
var (
	errName  = errors.New("a guardrail may not change the name of an argument")
	errTwice = errors.New("a guardrail may not give two members one name")
)

// parseDocument reads a value; none is an empty object. Of members that stand twice the last
// counts, here and for the server, which gets what was read.
func parseDocument(raw []byte, result bool) (*document, error) {
	d := &document{result: result, root: map[string]any{}}
	if len(bytes.TrimSpace(raw)) == 0 {
		return d, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&d.root); err != nil {
		return nil, fmt.Errorf("read value: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read value: there is more than one")
	}
	return d, d.collect(d.root, func(v any) { d.root = v }, 0, !result)
}

// collect finds the texts of a value, which put replaces. own says that the protocol has named nothing in it.
func (d *document) collect(v any, put func(any), depth int, own bool) error {
	if depth > maxNesting {
		return errors.New("read value: it is nested too deeply")
	}
	switch v := v.(type) {
	case string:
		d.add(v, func(s string) error { put(s); return nil })
	case json.Number:
		d.add(v.String(), func(s string) error { put(s); return nil })
	case []any:
		for i := range v {
			if err := d.collect(v[i], func(n any) { v[i] = n }, depth+1, own); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !own && media[name] {
				continue
			}
			at := name
			if own {
				d.add(name, func(next string) (err error) {
					at, err = d.rename(v, at, next)
					return err
				})
			}
			if err := d.collect(v[name], func(n any) { v[at] = n }, depth+1, own || free[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// rename gives a member of a result another name. It returns the one that it has then.
func (d *document) rename(v map[string]any, at, next string) (string, error) {
	_, taken := v[next]
	switch {
	case !d.result:
		return at, errName
	case taken:
		return at, errTwice
	}
	v[next] = v[at]
	delete(v, at)
	return next, nil
}

func (d *document) add(now string, set func(string) error) { d.texts = append(d.texts, text{now, set}) }

// message is how a text is shown to guardrails: as a message of a conversation.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type choice struct {
	Index   int     `json:"index"`
	Message message `json:"message"`
}

// shown is a conversation as guardrails know it.
type shown struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages,omitempty"`
	Choices  []choice  `json:"choices,omitempty"`
}

// show writes the texts: arguments as a request, a result as an answer.
func (d *document) show(model string) ([]byte, error) {
	s := shown{Model: model}
	for i, t := range d.texts {
		if d.result {
			s.Choices = append(s.Choices, choice{i, message{"assistant", t.now}})
		} else {
			s.Messages = append(s.Messages, message{"user", t.now})
		}
	}
	return json.Marshal(s)
}

// take puts what guardrails have made of the texts in their place.
func (d *document) take(body []byte) error {
	var s shown
	if err := json.Unmarshal(body, &s); err != nil {
		return rewriteFailed(err)
	}
	if len(s.Messages)+len(s.Choices) != len(d.texts) {
		return rewriteFailed(fmt.Errorf("%d texts became %d", len(d.texts), len(s.Messages)+len(s.Choices)))
	}
	for i := range d.texts {
		t := &d.texts[i]
		next := ""
		if d.result {
			next = s.Choices[i].Message.Content
		} else {
			next = s.Messages[i].Content
		}
		if next == t.now {
			continue
		}
		if err := t.set(next); err != nil {
			return rewriteFailed(err)
		}
		t.now = next
	}
	return nil
}

func rewriteFailed(err error) error {
	return &llm.Error{Kind: llm.Internal, Code: "conclave_guardrail_failed", Message: "A guardrail made something of the call that cannot be sent.", Err: err}
}

// bytes is the value as it is now.
func (d *document) bytes() (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(d.root)
	return bytes.TrimSpace(b.Bytes()), err
}
