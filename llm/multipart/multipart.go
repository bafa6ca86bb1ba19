// Package multipart writes forms for providers that take nothing else, in pieces, so that files are
// not copied.
package multipart

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"strings"
)

// Form is a form that is written.
type Form struct {
	pieces   [][]byte
	boundary string
}

// New begins a form. Its boundary is set when it is finished: it is made of what is in the form, so
// that no file can hold it on purpose.
func New() *Form { return &Form{} }

// quoted writes names as browsers do.
var quoted = strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A")

// Field adds a text.
func (f *Form) Field(name, value string) {
	f.pieces = append(f.pieces, nil, []byte(`Content-Disposition: form-data; name="`+quoted.Replace(name)+"\"\r\n\r\n"+value+"\r\n"))
}

// File adds a file, which is not copied. Its name and its type may be "".
func (f *Form) File(name, file, kind string, data []byte) {
	if file == "" {
		file = "file"
	}
	if kind == "" {
		kind = "application/octet-stream"
	}
	kind = strings.NewReplacer("\r", "", "\n", "").Replace(kind)
	head := `Content-Disposition: form-data; name="` + quoted.Replace(name) + `"; filename="` + quoted.Replace(file) + "\"\r\nContent-Type: " + kind + "\r\n\r\n"
	f.pieces = append(f.pieces, nil, []byte(head), data, []byte("\r\n"))
}

// Pieces are the form. Nothing can be added any more.
func (f *Form) Pieces() [][]byte {
	f.seal()
	out := make([][]byte, 0, len(f.pieces)+1)
	for _, p := range f.pieces {
		if p == nil {
			p = []byte("--" + f.boundary + "\r\n")
		}
		out = append(out, p)
	}
	return append(out, []byte("--"+f.boundary+"--\r\n"))
}

// Type is the content type.
func (f *Form) Type() string {
	f.seal()
	return mime.FormatMediaType("multipart/form-data", map[string]string{"boundary": f.boundary})
}

// seal chooses the boundary.
func (f *Form) seal() {
	if f.boundary != "" {
		return
	}
	h := sha256.New()
	for _, p := range f.pieces {
		h.Write(p)
	}
	f.boundary = "conclave-" + hex.EncodeToString(h.Sum(nil)[:24])
}
