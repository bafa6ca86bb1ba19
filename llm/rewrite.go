package llm

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Edits are the changes that Rewrite makes. The zero value makes none.
type Edits struct {
	Model        string // "": as it is
	IncludeUsage bool   // ask for the usage chunk of a stream
	MaxTokens    int64  // > 0: lower the limits on output to it, or add one
	DropOwn      bool   // take out the top-level fields that only the gateway understands
	// RenameMaxTokens, if set, is the name under which the provider takes the limit on output:
	// "max_tokens" or "max_completion_tokens".
	RenameMaxTokens string
	// RenameSeed, if set, is the provider's name for "seed".
	RenameSeed string
	// Endpoint is where the body goes: its dialect says how a limit is named that is added.
	Endpoint Endpoint
	// DropModel and DropStream take out "model" and "stream", which some hosts of a dialect want
	// in the path alone.
	DropModel, DropStream bool
	// Drop are further members to take out.
	Drop []string
	// Add are members that are added at the end. The body must not have them already: who has
	// read it asks Has.
	Add []Member
}

// Member is a member of the object that is a request's body.
type Member struct {
	Name  string
	Value []byte // JSON
}

// Append appends the member to an object. Its name may be anything.
func (m *Member) Append(dst []byte) []byte {
	return AppendRaw(append(AppendString(AppendComma(dst), m.Name), ':'), m.Value)
}

// Has says whether the body, whose syntax Peek has checked, has the member at its top.
func Has(body []byte, name string) bool {
	s := scanner{b: body}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		if sameName(s.key(), name) {
			return true
		}
		s.value()
	}
	return false
}

// splice replaces body[start:end] with text.
type splice struct {
	start, end int
	text       []byte
}

// Rewrite returns body, of which Peek read f, with the edits made. Every other byte stays as
// and where it is. It returns body itself if nothing changes and never writes to it.
func Rewrite(body []byte, f *Fields, e Edits) []byte {
	var room [16]splice
	list := room[:0]
	var add []byte // members to add before the closing brace
	if e.Model != "" && e.Model != f.Model && !e.DropModel {
		list, add = set(list, add, f.spans[fieldModel], "model", AppendString(nil, e.Model))
	}
	if e.IncludeUsage && !f.IncludeUsage {
		list, add = f.includeUsage(body, list, add)
	}
	if e.MaxTokens > 0 {
		list, add = f.clamp(body, list, add, e)
	}
	list = f.rename(body, list, e)
	list, left := f.drop(body, list, e)
	for _, m := range e.Add {
		list, add = set(list, add, span{}, m.Name, m.Value)
	}
	if len(list) == 0 && len(add) == 0 {
		return body
	}
	if len(add) > 0 && left == 0 {
		add = add[1:] // no comma before the first
	}
	if len(add) > 0 {
		list = append(list, splice{f.end, f.end, add})
	}
	return apply(body, list)
}

// set replaces the value at sp, or adds the member if there is none.
func set(list []splice, add []byte, sp span, name string, value []byte) ([]splice, []byte) {
	if sp.end != 0 {
		return append(list, splice{sp.start, sp.end, value}), add
	}
	add = append(add, ',')
	add = AppendString(add, name)
	add = append(add, ':')
	return list, append(add, value...)
}

// includeUsage sets stream_options.include_usage.
func (f *Fields) includeUsage(body []byte, list []splice, add []byte) ([]splice, []byte) {
	sp := f.spans[fieldStreamOptions]
	switch {
	case f.include.end != 0:
		return append(list, splice{f.include.start, f.include.end, []byte("true")}), add
	case sp.end != 0 && body[sp.start] == '{':
		text := `"include_usage":true`
		if !emptyObject(body[sp.start:sp.end]) {
			text += ","
		}
		return append(list, splice{sp.start + 1, sp.start + 1, []byte(text)}), add
	}
	return set(list, add, sp, "stream_options", []byte(`{"include_usage":true}`))
}

// emptyObject says that an object, whose syntax was checked, has no members.
func emptyObject(v []byte) bool {
	s := scanner{b: v, i: 1}
	return s.space() == '}'
}

// clamp lowers every limit on output that is above e.MaxTokens, and adds one if there is none.
func (f *Fields) clamp(body []byte, list []splice, add []byte, e Edits) ([]splice, []byte) {
	value := strconv.AppendInt(nil, e.MaxTokens, 10)
	if e.Endpoint.ModelInPath() && e.Endpoint != Invoke || e.Endpoint == Invoke && f.nested.end != 0 {
		return f.clampNested(body, list, add, e, value)
	}
	found := e.Endpoint == Invoke // whose makers have different names for it
	for _, id := range []field{fieldMaxTokens, fieldMaxCompletionTokens, fieldMaxOutputTokens} {
		sp := f.spans[id]
		if sp.end == 0 {
			continue
		}
		n, err := strconv.ParseInt(string(body[sp.start:sp.end]), 10, 64)
		limited := err == nil && n > 0
		if !limited || n > e.MaxTokens {
			list = append(list, splice{sp.start, sp.end, value})
		}
		found = true
	}
	if !found {
		return set(list, add, span{}, cmp.Or(e.RenameMaxTokens, traits[e.Endpoint].most, "max_tokens"), value)
	}
	return list, add
}

// clampNested is clamp for the dialects that have the limit in an object.
func (f *Fields) clampNested(body []byte, list []splice, add []byte, e Edits, value []byte) ([]splice, []byte) {
	id, name := fieldGenerationConfig, "maxOutputTokens"
	if e.Endpoint == Converse {
		id, name = fieldInferenceConfig, "maxTokens"
	}
	sp := f.spans[id]
	switch {
	case f.nested.end != 0:
		if n, err := strconv.ParseInt(string(body[f.nested.start:f.nested.end]), 10, 64); err != nil || n <= 0 || n > e.MaxTokens {
			list = append(list, splice{f.nested.start, f.nested.end, value})
		}
		return list, add
	case sp.end != 0 && body[sp.start] == '{':
		text := append(strconv.AppendQuote(nil, name), ':')
		text = append(text, value...)
		if !emptyObject(body[sp.start:sp.end]) {
			text = append(text, ',')
		}
		return append(list, splice{sp.start + 1, sp.start + 1, text}), add
	}
	return set(list, add, sp, fieldNames[id], fmt.Appendf(nil, `{%q:%s}`, name, value))
}

// rename gives members the provider's names.
func (f *Fields) rename(body []byte, list []splice, e Edits) []splice {
	if e.RenameMaxTokens != "" {
		list = f.renameMaxTokens(list, e.RenameMaxTokens)
	}
	if e.RenameSeed != "" {
		for _, sp := range spansOf(body, []string{"seed"}, nil) {
			list = append(list, splice{sp.key, sp.start, append(AppendString(nil, e.RenameSeed), ':')})
		}
	}
	return list
}

// renameMaxTokens renames the one of max_tokens and max_completion_tokens that is given, if
// only one is.
func (f *Fields) renameMaxTokens(list []splice, name string) []splice {
	from := fieldMaxTokens
	if name == fieldNames[fieldMaxTokens] {
		from = fieldMaxCompletionTokens
	}
	if sp := f.spans[from]; sp.end != 0 && f.spans[fieldMaxTokens].end*f.spans[fieldMaxCompletionTokens].end == 0 {
		// Up to the value: the name, the colon and the white space between.
		list = append(list, splice{sp.key, sp.start, AppendString(nil, name)})
		last := &list[len(list)-1]
		last.text = append(last.text, ':')
	}
	return list
}

// drop takes out the gateway's own fields, and others that are not wanted, and returns how many
// members are left. Those at the beginning of the object go with the comma after them, the
// others with the one before.
func (f *Fields) drop(body []byte, list []splice, e Edits) ([]splice, int) {
	var room [len(ownFields) + 2]span
	own := room[:0]
	take := func(id field) {
		if sp := f.spans[id]; sp.end != 0 {
			own = append(own, sp)
		}
	}
	if e.DropOwn {
		for _, id := range ownFields {
			take(id)
		}
	}
	if e.DropModel {
		take(fieldModel)
	}
	if e.DropStream {
		take(fieldStream)
	}
	if len(e.Drop) > 0 {
		own = spansOf(body, e.Drop, own)
	}
	if len(own) == 0 {
		return list, f.members
	}
	slices.SortFunc(own, func(a, b span) int { return a.key - b.key })
	s := scanner{b: body}
	s.enter('{')
	s.space()
	left, lead := f.members, s.i
	for _, sp := range own {
		left--
		if sp.key != lead {
			list = append(list, splice{start: bytes.LastIndexByte(body[:sp.key], ','), end: sp.end})
			continue
		}
		end := sp.end
		if s.i = sp.end; s.space() == ',' {
			s.i++
			s.space()
			end, lead = s.i, s.i
		}
		list = append(list, splice{start: sp.key, end: end})
	}
	return list, left
}

// spansOf finds the members with the names, but for those that were found already.
func spansOf(body []byte, names []string, found []span) []span {
	s := scanner{b: body}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		s.space()
		sp := span{key: s.i}
		name := s.key()
		s.space()
		sp.start = s.i
		s.value()
		sp.end = s.i
		known := slices.ContainsFunc(found, func(f span) bool { return f.key == sp.key })
		if !known && slices.ContainsFunc(names, func(other string) bool { return sameName(name, other) }) {
			found = append(found, sp)
		}
	}
	return found
}

// apply makes the splices, which do not overlap, in one copy of body.
func apply(body []byte, list []splice) []byte {
	slices.SortStableFunc(list, func(a, b splice) int { return a.start - b.start })
	size := len(body)
	for _, sp := range list {
		size += len(sp.text)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, sp := range list {
		out = append(out, body[at:sp.start]...)
		out = append(out, sp.text...)
		at = sp.end
	}
	return append(out, body[at:]...)
}
