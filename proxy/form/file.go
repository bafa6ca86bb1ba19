package form

import (
	"bytes"
	"mime"
	"net/http"
	"net/textproto"
	"strings"
)

// FileHead is what the client says of the first file: its name and its content type, "" if it does not.
func (f *Form) FileHead() (name, kind string) {
	for i := range f.parts {
		if p := &f.parts[i]; p.file {
			return f.head(p)
		}
	}
	return "", ""
}

// EachFile calls do with every file: the name of its field, without [] behind it, and what FileHead and
// File are of the first.
func (f *Form) EachFile(do func(field, name, kind string, data []byte)) {
	for i := range f.parts {
		if p := &f.parts[i]; p.file {
			name, kind := f.head(p)
			do(strings.TrimSuffix(p.name, "[]"), name, kind, f.bytes(p))
		}
	}
}

func (f *Form) head(p *part) (name, kind string) {
	h := http.Header{}
	for line := range bytes.SplitSeq(f.raw[p.start:p.value], []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok {
			h.Add(textproto.CanonicalMIMEHeaderKey(string(name)), strings.TrimSpace(string(value)))
		}
	}
	_, params, _ := mime.ParseMediaType(h.Get("Content-Disposition")) // Parse has read it
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil {
		return params["filename"], kind
	}
	return params["filename"], ""
}
