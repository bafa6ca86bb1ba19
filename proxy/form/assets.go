package form

import (
	"encoding/base64"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// partRequest is the part of a form that holds a request; the others are pictures that it names.
const partRequest = "request"

// Assets is the request that a form holds as JSON, with the pictures in it that came as parts of the form,
// as clients of TypeSafe's send them. Errors are *llm.Error of kind Invalid.
func Assets(contentType string, raw []byte) ([]byte, error) {
	f, err := Parse(contentType, raw)
	if err != nil {
		return nil, err
	}
	request, ok := f.take(partRequest)
	if !ok {
		return nil, invalid("The form has no part \"request\", with the request as JSON.")
	}
	c := llm.NewCursor(request)
	if c.Next() != '{' {
		return nil, invalid("The part \"request\" of the form is not a JSON object.")
	}
	dst := append(make([]byte, 0, base64.StdEncoding.EncodedLen(len(raw))+64), '{')
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if name != "assets" || c.Next() != '{' {
			dst = (&llm.Member{Name: name, Value: c.Raw()}).Append(dst)
			continue
		}
		if dst, err = f.appendAssets(append(llm.AppendKey(dst, name), '{'), &c); err != nil {
			return nil, err
		}
		dst = append(dst, '}')
	}
	return append(dst, '}'), c.End()
}

// take is the value of the only part of a name, which is then no part any more.
func (f *Form) take(name string) (value []byte, ok bool) {
	i := slices.IndexFunc(f.parts, func(p part) bool { return p.name == name })
	if i < 0 {
		return nil, false
	}
	value = f.bytes(&f.parts[i])
	f.parts = slices.Delete(f.parts, i, i+1)
	return value, !slices.ContainsFunc(f.parts, func(p part) bool { return p.name == name })
}

// appendAssets appends the assets of a request, each with the part that it names. A part is one asset's.
func (f *Form) appendAssets(dst []byte, c *llm.Cursor) ([]byte, error) {
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		var members []llm.Member
		from := ""
		for m := 0; c.Member(m); m++ {
			one := llm.Member{Name: string(c.Name()), Value: c.Raw()}
			if one.Name == "part" {
				v := llm.NewCursor(one.Value)
				if from = v.Text(); from != "" {
					continue
				}
			}
			members = append(members, one)
		}
		dst = append(append(llm.AppendString(llm.AppendComma(dst), name), ':'), '{')
		kind := f.kindOf(from)
		data, ok := f.take(from)
		if from != "" && !ok {
			return nil, invalid("The asset " + strconv.Quote(name) + " names the part " + strconv.Quote(from) + ", which the form does not have, or has for another.")
		}
		for i := range members {
			if from == "" || members[i].Name != "data_base64" {
				dst = members[i].Append(dst)
			}
		}
		if from != "" {
			dst = appendPicture(dst, data, kind, slices.ContainsFunc(members, func(m llm.Member) bool { return m.Name == "format" }))
		}
		dst = append(dst, '}')
	}
	return dst, nil
}

// kindOf is the content type of a part, "" if it says none.
func (f *Form) kindOf(name string) string {
	for i := range f.parts {
		if f.parts[i].name == name {
			return f.parts[i].kind
		}
	}
	return ""
}

// appendPicture appends the members of a picture: its format, as its type or its first bytes tell it, unless
// that is said, and its bytes.
func appendPicture(dst, data []byte, kind string, said bool) []byte {
	if !said {
		if kind == "" {
			kind = http.DetectContentType(data)
		}
		kind, _, _ = mime.ParseMediaType(kind)
		_, format, _ := strings.Cut(kind, "/")
		dst = llm.AppendString(llm.AppendKey(dst, "format"), format)
	}
	dst = append(llm.AppendKey(dst, "data_base64"), '"')
	return append(base64.StdEncoding.AppendEncode(dst, data), '"')
}
