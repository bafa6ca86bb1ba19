package typesafe

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// partRequest is the part of a form that holds the request; the others are pictures that it names.
const partRequest = "request"

// asset is a picture of a request.
type asset struct {
	Type   string `json:"type,omitempty"`
	Format string `json:"format,omitempty"`
	Data   []byte `json:"data_base64,omitempty"`
	Part   string `json:"part,omitempty"`
}

// Join is a request as JSON whose pictures may have come beside it, as parts of a form. What is no form is
// returned as it is. Errors are *llm.Error of kind Invalid.
func Join(contentType string, body []byte) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		return body, nil
	}
	parts, err := readParts(multipart.NewReader(bytes.NewReader(body), params["boundary"]))
	if err != nil {
		return nil, badForm("The form cannot be read: it must be multipart/form-data with its boundary.", err)
	}
	request, ok := parts[partRequest]
	if !ok {
		return nil, badForm("The form has no part \"request\" with the request as JSON.", nil)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(request.data, &members); err != nil {
		return nil, badForm("The part \"request\" is not a JSON object.", err)
	}
	if raw, ok := members["assets"]; ok {
		if members["assets"], err = withParts(raw, parts); err != nil {
			return nil, err
		}
	}
	return json.Marshal(members)
}

// withParts writes the assets with the parts that they name.
func withParts(raw []byte, parts map[string]*part) ([]byte, error) {
	var assets map[string]*asset
	if err := json.Unmarshal(raw, &assets); err != nil {
		return nil, badForm("The member \"assets\" is not an object of assets.", err)
	}
	for name, a := range assets {
		if a == nil || a.Part == "" {
			continue
		}
		p, ok := parts[a.Part]
		if !ok || a.Part == partRequest {
			return nil, badForm("The asset "+quoted(name)+" names the part "+quoted(a.Part)+", which the form does not have.", nil)
		}
		a.Data, a.Part = p.data, ""
		if a.Format == "" {
			a.Format = p.format()
		}
	}
	return json.Marshal(assets)
}

// part is a part of a form.
type part struct {
	kind string
	data []byte
}

// format is the picture's, as its type or its first bytes tell it.
func (p *part) format() string {
	kind := p.kind
	if kind == "" {
		kind = http.DetectContentType(p.data)
	}
	_, format, _ := strings.Cut(kind, "/")
	return format
}

var errTwice = errors.New("two parts have one name")

func readParts(r *multipart.Reader) (map[string]*part, error) {
	parts := map[string]*part{}
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(p)
		if err != nil {
			return nil, err
		}
		if parts[p.FormName()] != nil {
			return nil, errTwice
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		parts[p.FormName()] = &part{kind: kind, data: data}
	}
}

func quoted(s string) string { return string(llm.AppendString(nil, s)) }

func badForm(message string, err error) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_form", Message: message, Err: err}
}
