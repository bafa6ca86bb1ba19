package guardrail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what is checked. A body beyond them cannot be checked and is refused: a
// guardrail must not be avoided by making a body large.
const (
	maxDepth = 64
	maxTexts = 1 << 16
	maxPath  = 128
)

// ErrBody is returned for a body that is not JSON or is beyond the bounds of what can be checked.
var ErrBody = errors.New("body cannot be checked")

// structural are the members whose strings are no text where a dialect has named them: identifiers,
// enumerations, addresses and encoded media. Everything else is checked, so that a field that a vendor
// adds is too, and so is all of what others have named (made).
var structural = map[string]bool{
	"role": true, "type": true, "id": true, "object": true, "finish_reason": true, "stop_reason": true,
	"tool_call_id": true, "call_id": true, "item_id": true, "file_id": true, "response_id": true,
	"data": true, "file_data": true, "embedding": true, "encrypted_content": true, "signature": true,
	"format": true, "detail": true, "media_type": true, "system_fingerprint": true,
}

// settings are the top-level members of a request or an answer that hold no text for or from a model.
var settings = map[string]bool{
	"model": true, "user": true, "metadata": true, "safety_identifier": true, "prompt_cache_key": true,
	"service_tier": true, "stream_options": true, "encoding_format": true, "previous_response_id": true,
	"guardrails": true, "tags": true, "usage": true, "reasoning_effort": true, "verbosity": true,
	"modalities": true, "include": true, "event_id": true,
}

// tokenized are the top-level members of a request that may hold a prompt as the ids of its tokens.
var tokenized = map[string]bool{"prompt": true, "input": true, "prompt_token_ids": true}

// made are the members whose value, if it is an object or an array, is of no dialect: arguments and results of
// tools, values that a schema allows, variables, documents. Nothing in them is known by its name.
var made = map[string]bool{
	"args": true, "arguments": true, "input_examples": true, "variables": true, "env": true, "headers": true, "attributes": true,
	"default": true, "const": true, "enum": true, "example": true, "examples": true, "documents": true, "chat_template_kwargs": true,
	"state": true, "criteria": true, "entities": true,
	"additionalModelRequestFields": true, "additionalModelResponseFields": true,
}

// answers are the top-level members that hold answers; "" is an event's top level.
var answers = map[string]bool{"": true, "choices": true, "output": true, "item": true, "part": true, "response": true}

// span is where a JSON value stands in the body.
type span struct{ start, end int }

// Texts are the texts of a JSON body and where they stand.
type Texts struct {
	body     []byte
	list     []Text
	spans    []span
	nodes    []int32 // the node that each text is a member of
	keys     []string
	made     []bool // of no dialect; nil: none
	logprobs []span // they repeat the texts token by token
	changed  []bool
	ids      string // the member that holds ids of tokens instead of a text; "": none
}

// Extract finds the texts of a JSON body, which must not change while the Texts are used.
// It returns an error that wraps ErrBody if the body is not JSON or is beyond the bounds.
func Extract(body []byte) (*Texts, error) {
	w := walker{dec: jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
	w.t.body = body
	if err := w.value(-1, "", place{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBody, err)
	}
	if _, err := w.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more than one value", ErrBody)
	}
	w.finish()
	return &w.t, nil
}

// List returns the texts in the order of the body. It must not be changed.
func (t *Texts) List() []Text { return t.list }

// Replace gives the text at index i a new value.
func (t *Texts) Replace(i int, text string) error {
	if i < 0 || i >= len(t.list) {
		return fmt.Errorf("replace text %d of %d", i, len(t.list))
	}
	if t.list[i].Text == text {
		return nil
	}
	if t.changed == nil {
		t.changed = make([]bool, len(t.list))
	}
	t.list[i].Text = text
	t.changed[i] = true
	return nil
}

// Body returns the body with what was replaced spliced in and all else kept, byte for byte.
// Log probabilities and ids, which repeat an answer token by token, become null if a text changed.
func (t *Texts) Body() ([]byte, error) {
	if t.changed == nil {
		return t.body, nil
	}
	out := make([]byte, 0, len(t.body)+64)
	at, next := 0, 0
	for i, s := range t.spans {
		if !t.changed[i] {
			continue
		}
		out, at, next = t.dropLogprobs(out, at, next, s.start)
		out = append(out, t.body[at:s.start]...)
		var err error
		if out, err = jsontext.AppendQuote(out, t.list[i].Text); err != nil {
			return nil, fmt.Errorf("quote %s: %w", t.list[i].Path, err)
		}
		at = s.end
	}
	out, at, _ = t.dropLogprobs(out, at, next, len(t.body))
	return append(out, t.body[at:]...), nil
}

// dropLogprobs copies the body up to the position before, with null for each log
// probability on the way.
func (t *Texts) dropLogprobs(out []byte, at, next, before int) (grown []byte, newAt, newNext int) {
	for ; next < len(t.logprobs) && t.logprobs[next].start < before; next++ {
		out = append(out, t.body[at:t.logprobs[next].start]...)
		out = append(out, "null"...)
		at = t.logprobs[next].end
	}
	return out, at, next
}

// isMade says whether the text is of what no dialect has named. Such a value comes whole, also in a stream.
func (t *Texts) isMade(i int) bool { return i < len(t.made) && t.made[i] }

// node is an object or array on the way to a text.
type node struct {
	parent  int32
	index   int64 // of an object: one more than its own "index", which tells choices apart; 0: none
	role    string
	key     string
	path    string // rendered once
	element bool   // of an array
	data    bool   // it has a member "data"
	plain   bool   // its type is "text", and so its data is one
}

// place is where a value stands.
type place struct {
	depth   int
	made    bool // of no dialect
	element bool // of an array
}

type walker struct {
	dec   *jsontext.Decoder
	nodes []node
	ids   string // the tokenized member that is being read
	t     Texts
}

// value reads one value, which is the member key of the node parent.
func (w *walker) value(parent int32, key string, p place) error {
	if p.depth > maxDepth {
		return errors.New("nested too deeply")
	}
	switch w.dec.PeekKind() {
	case '{':
		return w.object(parent, key, p)
	case '[':
		return w.array(parent, key, p)
	case '"':
		return w.text(parent, key, p)
	case '0':
		return w.number(parent, key, p)
	default:
		return w.dec.SkipValue()
	}
}

func (w *walker) object(parent int32, key string, p place) error {
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	me, first := w.push(parent, key, p), len(w.t.list)
	for i := 0; w.dec.PeekKind() != '}'; i++ {
		name, err := w.name(me, i, p)
		if err != nil {
			return err
		}
		if p.made { // a name that guardrails may change is no part of a path
			err = w.value(me, strconv.Itoa(i), place{depth: p.depth + 1, made: true})
		} else {
			err = w.member(me, name, p.depth)
		}
		if err != nil {
			return err
		}
	}
	if w.nodes[me].data {
		w.settleData(me, first)
	}
	_, err := w.dec.ReadToken()
	return err
}

// member reads a member's value, whose name a dialect has given.
func (w *walker) member(n int32, name string, depth int) error {
	kind := w.dec.PeekKind()
	if depth == 0 {
		w.ids = ""
		if kind == '[' && tokenized[name] {
			w.ids = name
		}
		if settings[name] {
			return w.dec.SkipValue()
		}
	}
	if (name == "logprobs" || name == "token_ids") && w.inAnswer(n) {
		return w.skipLogprobs()
	}
	isMade := (kind == '{' || kind == '[') && w.isMade(n, name, kind, depth)
	return w.value(n, name, place{depth: depth + 1, made: isMade})
}

// isMade says whether the member of the node, an object or an array, is of no dialect.
func (w *walker) isMade(n int32, name string, kind jsontext.Kind, depth int) bool {
	switch name {
	case "input": // of Anthropic's and Amazon's tools; that of a request is its conversation, and that of a session its sound
		return depth > 0 && kind == '{' && w.holder(n) != "audio"
	case "data": // of Cohere's documents; a list of them is an answer
		return kind == '{'
	case "response": // of Google's functions; other objects of the name are answers
		in := w.holder(n)
		return in == "functionResponse" || in == "function_response" || in == "functionResponses"
	case "json": // of the results of Amazon's tools; else it is a schema
		return w.holder(n) == "content"
	case "parameters": // of Cohere's calls; else they are a schema
		in := w.holder(n)
		return in == "call" || in == "tool_calls"
	case "outputs":
		return w.holder(n) == "tool_results"
	}
	return made[name]
}

// holder is the member that the node, or the array with it, is the value of.
func (w *walker) holder(n int32) string {
	for w.nodes[n].element {
		n = w.nodes[n].parent
	}
	return w.nodes[n].key
}

func (w *walker) array(parent int32, key string, p place) error {
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	me := w.push(parent, key, p)
	for i := 0; w.dec.PeekKind() != ']'; i++ {
		if k := w.dec.PeekKind(); k == '0' && !p.made { // token ids and vectors: no name needed
			if w.ids != "" && p.depth <= 2 {
				w.t.ids = w.ids
			}
			if err := w.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := w.value(me, strconv.Itoa(i), place{p.depth + 1, p.made, true}); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

func (w *walker) push(parent int32, key string, p place) int32 {
	w.nodes = append(w.nodes, node{parent: parent, key: key, element: p.element})
	return int32(len(w.nodes) - 1)
}

// name reads the name of the member i of the node, which is a text where no dialect has given it.
func (w *walker) name(n int32, i int, p place) (string, error) {
	if p.made {
		raw, err := w.dec.ReadValue()
		if err != nil {
			return "", err
		}
		return "", w.add(n, strconv.Itoa(i)+".name", raw, true)
	}
	tok, err := w.dec.ReadToken()
	if err != nil {
		return "", err
	}
	if tok.Kind() != '"' {
		return "", errors.New("member without a name")
	}
	return tok.String(), nil
}

// inAnswer says that the node is part of an answer: only there do log probabilities repeat texts.
func (w *walker) inAnswer(n int32) bool {
	for w.nodes[n].parent > 0 {
		n = w.nodes[n].parent
	}
	return answers[w.nodes[n].key]
}

// skipLogprobs passes over log probabilities; in a request they are a number or a flag.
func (w *walker) skipLogprobs() error {
	kind := w.dec.PeekKind()
	raw, err := w.dec.ReadValue()
	if err == nil && (kind == '{' || kind == '[') {
		end := int(w.dec.InputOffset())
		w.t.logprobs = append(w.t.logprobs, span{end - len(raw), end})
	}
	return err
}

func (w *walker) text(parent int32, key string, p place) error {
	raw, err := w.dec.ReadValue()
	if err != nil {
		return err
	}
	switch {
	case p.made:
		return w.add(parent, key, raw, true)
	case structural[key] && parent >= 0:
		return w.structure(&w.nodes[parent], parent, key, raw)
	case structural[key]:
		return nil
	case key == "url" && (bytes.HasPrefix(raw, []byte(`"data:`)) || len(raw) <= 2):
		return nil // encoded media
	}
	return w.add(parent, key, raw, false)
}

// structure keeps what a structural member says about the texts around it.
func (w *walker) structure(n *node, parent int32, key string, raw jsontext.Value) error {
	switch key {
	case "role":
		n.role = unquote(raw)
	case "type":
		n.plain = n.plain || unquote(raw) == "text"
	case "data":
		n.data = true
		return w.add(parent, key, raw, false)
	}
	return nil
}

// settleData decides, when all of the node is read, whether its data is a text, as that of Anthropic's plain documents
// is, or encoded media. Its texts are those from first.
func (w *walker) settleData(n int32, first int) {
	t := &w.t
	for i := len(t.list) - 1; i >= first; i-- {
		switch {
		case t.nodes[i] != n || t.keys[i] != "data":
		case w.nodes[n].plain:
			t.list[i].Text = unquote(t.body[t.spans[i].start:t.spans[i].end])
		default:
			t.list, t.spans = slices.Delete(t.list, i, i+1), slices.Delete(t.spans, i, i+1)
			t.nodes, t.keys = slices.Delete(t.nodes, i, i+1), slices.Delete(t.keys, i, i+1)
			if i < len(t.made) {
				t.made = slices.Delete(t.made, i, i+1)
			}
		}
	}
}

// add takes in a text, which is the member key of the node. The data of a dialect's objects is read by settleData.
func (w *walker) add(n int32, key string, raw jsontext.Value, isMade bool) error {
	if len(w.t.list) == maxTexts {
		return errors.New("too many texts")
	}
	text := Text{}
	switch {
	case raw.Kind() != '"':
		text.Text = string(raw)
	case isMade || key != "data":
		text.Text = unquote(raw)
	}
	if isMade {
		w.t.made = append(w.t.made, make([]bool, len(w.t.list)+1-len(w.t.made))...)
		w.t.made[len(w.t.list)] = true
	}
	end := int(w.dec.InputOffset())
	w.t.list = append(w.t.list, text)
	w.t.spans = append(w.t.spans, span{end - len(raw), end})
	w.t.nodes = append(w.t.nodes, n)
	w.t.keys = append(w.t.keys, key)
	return nil
}

// number reads a number: of what a dialect has named it keeps what tells apart the texts that a stream carries
// side by side, and else it is a text, as it would be in arguments that are a string.
func (w *walker) number(parent int32, key string, p place) error {
	raw, err := w.dec.ReadValue()
	if err != nil || parent < 0 {
		return err
	}
	if p.made {
		return w.add(parent, key, raw, true)
	}
	switch key {
	case "index", "output_index", "content_index", "summary_index":
		n, err := strconv.ParseInt(string(raw), 10, 16)
		if err != nil || n < 0 {
			return nil //nolint:nilerr // it tells nothing apart
		}
		me := &w.nodes[parent]
		me.index = me.index<<16 + n + 1 // some objects have an output's and a content's
	}
	return nil
}

// finish names the texts, which needs indexes and roles that may stand behind them.
func (w *walker) finish() {
	for i := range w.t.list {
		n := w.t.nodes[i]
		w.t.list[i].Path = join(w.path(n), w.t.keys[i])
		for ; n >= 0 && w.t.list[i].Role == ""; n = w.nodes[n].parent {
			w.t.list[i].Role = w.nodes[n].role
		}
	}
	w.t.nodes, w.t.keys = nil, nil
}

func (w *walker) path(n int32) string {
	if n < 0 {
		return ""
	}
	me := &w.nodes[n]
	key := me.key
	if me.index > 0 {
		key = "#" + strconv.FormatInt(me.index-1, 10)
	}
	if me.path == "" && key != "" {
		me.path = join(w.path(me.parent), key)
	}
	return me.path
}

// join appends a member to a path. Long paths end in a hash, so that a body cannot make
// its paths larger than itself and different paths stay different.
func join(path, key string) string {
	switch {
	case path == "":
		path = key
	case strings.HasPrefix(key, "#"):
		path += key
	default:
		path += "." + key
	}
	if len(path) <= maxPath {
		return path
	}
	return fmt.Sprintf("%.64s~%016x", path, xxhash.Sum64String(path))
}

func unquote(raw jsontext.Value) string {
	if len(raw) >= 2 && bytes.IndexByte(raw, '\\') < 0 && isASCII(raw) {
		return string(raw[1 : len(raw)-1])
	}
	b, _ := jsontext.AppendUnquote(nil, raw) // invalid UTF-8 becomes U+FFFD, with an error
	return string(b)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
