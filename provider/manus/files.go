package manus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/plain"
)

// files is where files are announced.
const files = "/v1/files"

// maxFiles bounds the files of one request.
const maxFiles = 50

// Open implements provider.Opener: files that stand in a request are brought to Manus before the task that names
// them, and removed at its end. Each is announced, which gives it an id and an address, and its bytes are put
// there (open.manus.ai, "OpenAI compatibility", file management, as LiteLLM asks it; tested against stand-ins
// only). Plain texts are written into the task instead, and pictures stay where they stand.
func (Format) Open(_ llm.Place, body []byte) (*llm.Step, func([]byte) (*llm.Step, error), error) {
	d := &delivery{body: body}
	if err := d.look(body); err != nil || len(d.files) == 0 {
		return nil, nil, err
	}
	return d.announce(0), d.next, nil
}

// delivery brings the files of a request. It is for one exchange.
type delivery struct {
	body    []byte
	files   []file
	ids     []string // of those that were announced
	putting bool     // the bytes of the last of them are under way
	given   bool     // the task is
}

// file is a part of the request that holds one.
type file struct {
	from, to int // of the part in the body
	name     string
	data     []byte // in base64
}

// mark is what a value must hold that is looked at: what has no file is passed over.
var mark = []byte(`"file_data"`)

// look finds the files in a value of the body.
func (d *delivery) look(raw []byte) error {
	if !bytes.Contains(raw, mark) {
		return nil
	}
	c := llm.NewCursor(raw)
	if c.Next() == '[' {
		for n := 0; c.Element(n); n++ {
			if err := d.look(c.Raw()); err != nil {
				return err
			}
		}
		return nil
	}
	f, ok := part(raw)
	if !ok {
		for n := 0; c.Member(n); n++ {
			if err := d.look(c.Raw()); err != nil {
				return err
			}
		}
		return nil
	}
	if len(d.files) == maxFiles {
		return llm.Unsayable("input", "The request has more than 50 files.")
	}
	f.from = cap(d.body) - cap(raw)
	f.to = f.from + len(raw)
	d.files = append(d.files, f)
	return nil
}

// part reads a part of type input_file; false: it is none, or has no bytes.
func part(raw []byte) (f file, ok bool) {
	kind, data := "", ""
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			kind = c.Text()
		case "filename":
			f.name = c.Text()
		case "file_data":
			data = c.Text()
		default:
			c.Raw()
		}
	}
	if i := strings.Index(data, ";base64,"); i >= 0 {
		data = data[i+len(";base64,"):]
	}
	f.data = []byte(data)
	return f, kind == "input_file" && data != ""
}

// announce is the request that announces a file.
func (d *delivery) announce(i int) *llm.Step {
	return &llm.Step{Path: files, Body: append(llm.AppendString([]byte(`{"filename":`), d.files[i].name), '}')}
}

var errFile = errors.New("it has no id and no address for a file")

// next is the request after an answer.
func (d *delivery) next(answer []byte) (*llm.Step, error) {
	switch {
	case d.given:
		return Format{}.Follow(answer)
	case !d.putting:
		return d.put(answer)
	case len(d.ids) < len(d.files):
		d.putting = false
		return d.announce(len(d.ids)), nil
	}
	d.given = true
	return &llm.Step{Path: responses, Body: d.named()}, nil
}

// put is the request that puts the bytes of a file where the answer to its announcement says.
func (d *delivery) put(answer []byte) (*llm.Step, error) {
	var got struct {
		ID      string `json:"id"`
		Address string `json:"upload_url"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, plain.Malformed(err)
	}
	if got.ID == "" || got.Address == "" {
		return nil, plain.Malformed(errFile)
	}
	raw, err := base64.StdEncoding.AppendDecode(nil, d.files[len(d.ids)].data)
	if err != nil {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "input", Message: "The data of a file are not in base64.", Err: err}
	}
	d.ids, d.putting = append(d.ids, got.ID), true
	return &llm.Step{Method: http.MethodPut, URL: got.Address, Body: raw, Remove: []string{files + "/" + url.PathEscape(got.ID)}}, nil
}

// named is the request with the ids of its files in their places.
func (d *delivery) named() []byte {
	dst := make([]byte, 0, len(d.body))
	from := 0
	for i := range d.files {
		f := &d.files[i]
		dst = append(dst, d.body[from:f.from]...)
		dst = append(llm.AppendString(append(dst, `{"type":"input_file","file_id":`...), d.ids[i]), '}')
		from = f.to
	}
	return append(dst, d.body[from:]...)
}
