// Package form reads multipart bodies where they stand: the text fields become a JSON object,
// which the policies read as they read any other request, and the files stay bytes that are
// neither copied nor looked at. What is sent on is pieces of the client's own bytes with the few
// fields between them that changed.
package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
)

const (
	maxParts = 256
	maxField = 1 << 20 // bytes of a text field
)

// Form is a parsed body, which must not change while the Form is used.
type Form struct {
	raw      []byte
	boundary string
	parts    []part
	tail     int    // where the closing boundary begins
	fields   []byte // what JSON made
}

// part is one part: raw[start:end] with its boundary and header, of which raw[value:end-2] is
// the value. Another boundary or the tail begins at end.
type part struct {
	name       string
	file       bool
	fileName   string
	kind       string // content type, "" if it says none
	start, end int
	value      int
}

// Is says whether a content type is a form's.
func Is(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "multipart/form-data"
}

// Parse takes a body apart. Errors are *llm.Error of kind Invalid.
func Parse(contentType string, raw []byte) (*Form, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" || len(params["boundary"]) > 70 {
		return nil, invalid("The request must be multipart/form-data with a boundary.")
	}
	f := &Form{raw: raw, boundary: params["boundary"]}
	mark := []byte("--" + f.boundary)
	if !bytes.HasPrefix(raw, mark) {
		i := bytes.Index(raw, append([]byte("\r\n"), mark...))
		if i < 0 {
			return nil, invalid("The form has no part that begins with its boundary.")
		}
		f.raw = raw[i+2:] // a preamble says nothing
	}
	return f, f.split(mark)
}

// split finds the parts. It refuses what readers disagree about: a boundary right behind a header,
// or behind a line feed alone.
func (f *Form) split(mark []byte) error {
	next := append([]byte("\n"), mark...)
	at := 0
	for {
		rest := f.raw[at+len(mark):]
		if bytes.HasPrefix(rest, []byte("--")) {
			f.tail = at
			return nil
		}
		line := bytes.Index(rest, []byte("\r\n"))
		if line < 0 || len(bytes.Trim(rest[:line], " \t")) > 0 {
			return invalid("A boundary of the form does not end its line.")
		}
		head := at + len(mark) + line + 2
		length := bytes.Index(f.raw[head-2:], []byte("\r\n\r\n"))
		if length < 0 {
			return invalid("A part of the form has no end of its header.")
		}
		value := head - 2 + length + 4
		stop := bytes.Index(f.raw[value:], next)
		if stop < 1 || f.raw[value+stop-1] != '\r' || bytes.HasPrefix(f.raw[value:], mark) {
			return invalid("The form ends before its last boundary, or has one that does not begin its line.")
		}
		end := value + stop + 1
		if len(f.parts) == maxParts {
			return invalid("The form has more than " + strconv.Itoa(maxParts) + " parts.")
		}
		p := part{start: at, value: value, end: end}
		if err := p.read(f.raw[head : value-2]); err != nil {
			return err
		}
		f.parts = append(f.parts, p)
		at = end
	}
}

// read reads the header of a part.
func (p *part) read(head []byte) error {
	h := http.Header{}
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok {
			h.Add(textproto.CanonicalMIMEHeaderKey(string(name)), strings.TrimSpace(string(value)))
		}
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if len(h["Content-Disposition"]) != 1 || err != nil || kind != "form-data" || params["name"] == "" {
		return invalid("A part of the form has no name.")
	}
	p.fileName, p.file = params["filename"]
	p.name, p.kind = params["name"], h.Get("Content-Type")
	if p.file && p.name == "model" {
		return invalid("The field \"model\" of the form must not be a file.")
	}
	if h.Get("Content-Transfer-Encoding") != "" {
		return invalid("The field " + strconv.Quote(p.name) + " of the form must not be encoded.")
	}
	return nil
}

// bytes are the value of a part.
func (f *Form) bytes(p *part) []byte { return f.raw[p.value : p.end-2] }

// Files are the number and the bytes of the files.
func (f *Form) Files() (n int, size int64) {
	for i := range f.parts {
		if p := &f.parts[i]; p.file {
			n++
			size += int64(p.end - 2 - p.value)
		}
	}
	return n, size
}

// File is the value of the first file, nil if there is none.
func (f *Form) File() []byte {
	for i := range f.parts {
		if p := &f.parts[i]; p.file {
			return f.bytes(p)
		}
	}
	return nil
}

// FileName is the name that the client gives the first file, "" if there is none.
func (f *Form) FileName() string {
	for i := range f.parts {
		if p := &f.parts[i]; p.file {
			return p.fileName
		}
	}
	return ""
}

// JSON is an object of the text fields: those with [] behind their name as arrays, stream and n
// as what they are in JSON, the others as strings.
func (f *Form) JSON() ([]byte, error) {
	out := []byte{'{'}
	for i := range f.parts {
		p := &f.parts[i]
		name := strings.TrimSuffix(p.name, "[]")
		if p.file || f.seen(i, name) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(llm.AppendString(out, name), ':')
		var err error
		if out, err = f.append(out, i, name); err != nil {
			return nil, err
		}
	}
	f.fields = append(out, '}')
	return f.fields, nil
}

// Changed are the text fields that body, which JSON made and someone changed, has otherwise. Only
// a field that is one text can be another: an error says that there is a change of something else.
func (f *Form) Changed(body []byte) (map[string]string, error) {
	own, err := f.JSON()
	if err != nil || bytes.Equal(own, body) {
		return nil, err
	}
	var had, has map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(own, &had), json.Unmarshal(body, &has)); err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for name, value := range has {
		before := had[name]
		delete(had, name)
		if bytes.Equal(before, value) {
			continue
		}
		var was, is string
		if value[0] != '"' || json.Unmarshal(before, &was) != nil || json.Unmarshal(value, &is) != nil {
			return nil, fmt.Errorf("field %q is not one text", name)
		}
		if was != is {
			texts[name] = is
		}
	}
	for name := range had {
		return nil, fmt.Errorf("field %q is left out", name)
	}
	return texts, nil
}

// seen says that an array of the name began before part i.
func (f *Form) seen(i int, name string) bool {
	return strings.HasSuffix(f.parts[i].name, "[]") &&
		slices.ContainsFunc(f.parts[:i], func(p part) bool { return !p.file && p.name == name+"[]" })
}

// append appends the value of the field that begins at part i.
func (f *Form) append(out []byte, i int, name string) ([]byte, error) {
	if !strings.HasSuffix(f.parts[i].name, "[]") {
		return f.scalar(out, &f.parts[i])
	}
	out = append(out, '[')
	for j := i; j < len(f.parts); j++ {
		p := &f.parts[j]
		if p.file || p.name != name+"[]" {
			continue
		}
		if j > i {
			out = append(out, ',')
		}
		var err error
		if out, err = f.scalar(out, p); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

// scalar appends one value.
func (f *Form) scalar(out []byte, p *part) ([]byte, error) {
	v := f.bytes(p)
	if len(v) > maxField || !utf8.Valid(v) {
		return nil, &llm.Error{
			Kind: llm.Invalid, Code: "invalid_value", Param: p.name,
			Message: "The field " + strconv.Quote(p.name) + " of the form must be text of at most " + strconv.Itoa(maxField) + " bytes; a file needs a filename.",
		}
	}
	switch p.name {
	case "stream":
		switch s := strings.ToLower(string(v)); s {
		case "true", "1":
			return append(out, "true"...), nil
		case "false", "0", "":
			return append(out, "false"...), nil
		}
	case "n":
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return strconv.AppendInt(out, n, 10), nil
		}
	case "metadata", "litellm_metadata":
		if json.Valid(v) && len(v) > 0 && v[0] == '{' {
			return append(out, v...), nil
		}
	}
	return llm.AppendString(out, string(v)), nil
}

// Edits are the changes of Pieces.
type Edits struct {
	Model string            // the new value of "model"; "": as it is, and none is added
	Drop  []string          // names of fields to leave out
	Texts map[string]string // new values of text fields that stand once
	Add   []Field           // that are added at the end

	File func(content []byte) []byte // gives what is sent of each file; nil: it is sent as it is
}

// Field is a text field of a form.
type Field struct{ Name, Value string }

// Pieces are the form with the edits made, in pieces of which all but the changed fields are its
// own bytes.
func (f *Form) Pieces(e Edits) [][]byte {
	var out [][]byte
	from := 0
	named := e.Model == ""
	cut := func(p *part, text []byte) {
		if p.start > from {
			out = append(out, f.raw[from:p.start])
		}
		if text != nil {
			out = append(out, text)
		}
		from = p.end
	}
	for i := range f.parts {
		p := &f.parts[i]
		text, changed := e.Texts[p.name]
		switch {
		case p.file && e.File != nil:
			out = append(out, f.raw[from:p.value], e.File(f.bytes(p)))
			from = p.end - 2
		case p.file:
		case slices.Contains(e.Drop, strings.TrimSuffix(p.name, "[]")):
			cut(p, nil)
		case p.name == "model" && e.Model != "":
			cut(p, f.field("model", e.Model))
			named = true
		case changed:
			cut(p, f.field(p.name, text))
		}
	}
	if from < f.tail {
		out = append(out, f.raw[from:f.tail])
	}
	if !named {
		out = append(out, f.field("model", e.Model))
	}
	for _, a := range e.Add {
		out = append(out, f.field(a.Name, a.Value))
	}
	return append(out, []byte("--"+f.boundary+"--\r\n"))
}

// field is a part of its own.
func (f *Form) field(name, value string) []byte {
	value = strings.ReplaceAll(value, "--"+f.boundary, "") // a text cannot begin a part
	return []byte("--" + f.boundary + "\r\nContent-Disposition: form-data; name=\"" + quoted.Replace(name) + "\"\r\n\r\n" + value + "\r\n")
}

// Type is the content type that the pieces have.
func (f *Form) Type() string {
	return mime.FormatMediaType("multipart/form-data", map[string]string{"boundary": f.boundary})
}

// quoted writes names as browsers do.
var quoted = strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A")

func invalid(message string) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_form", Message: message}
}
