// Package attachment puts files of the cluster's own store into requests that name them by their ids: no
// provider could read them there. What comes of it is the request that a client makes who sends its
// files along. Ids that are not the store's are left as they are.
package attachment

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"path"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// An own id is ownPrefix and ownDigits hexadecimal digits.
const (
	ownPrefix = "file-"
	ownDigits = 48
)

// maxFiles bounds the files of one request.
const maxFiles = 50

// Opener opens files of the cluster for whom may see them; *files.Shelf is one.
type Opener interface {
	Content(ctx context.Context, who *resource.Principal, id string) (*resource.FileFacts, func() ([]byte, error), error)
}

// within are the members of requests in which files are named, by endpoint.
var within = map[llm.Endpoint]string{llm.Chat: "messages", llm.Responses: "input", llm.Messages: "messages"}

// Named says whether a request may name files: whether it is worth a closer look.
func Named(at llm.Endpoint, body []byte) bool {
	return within[at] != "" && bytes.Contains(body, []byte(`"file_id"`)) && bytes.Contains(body, []byte(ownPrefix))
}

// Request is a request that names files.
type Request struct {
	Endpoint llm.Endpoint
	Who      *resource.Principal
	Body     []byte
	Most     int64 // bytes that it may have with its files
}

// writer copies the request, and puts files in.
type writer struct {
	*Request
	ctx    context.Context //nolint:containedctx // of the request that the value lives for
	files  Opener
	pieces [][]byte
	copied int // of Body
	size   int64
	count  int
}

// Inline returns the request with its files in pieces, parts of which are its own bytes, and their size;
// no piece where it names no file of the cluster. Errors are *llm.Error, or those of files.
func Inline(ctx context.Context, files Opener, r *Request) ([][]byte, int64, error) {
	w := &writer{Request: r, ctx: ctx, files: files}
	c := llm.NewCursor(r.Body)
	for n := 0; c.Member(n); n++ {
		named := string(c.Name()) == within[r.Endpoint]
		raw := c.Raw()
		if !named {
			continue
		}
		if err := w.value("", raw); err != nil {
			return nil, 0, err
		}
	}
	if c.Err() != nil || w.count == 0 {
		return nil, 0, nil
	}
	w.until(len(r.Body))
	return w.pieces, w.size, nil
}

// until copies the body up to a place.
func (w *writer) until(place int) {
	w.add(w.Body[w.copied:place])
	w.copied = place
}

func (w *writer) add(piece []byte) {
	w.pieces = append(w.pieces, piece)
	w.size += int64(len(piece))
}

// at is where bytes of the body stand in it.
func (w *writer) at(raw []byte) int { return cap(w.Body) - cap(raw) }

// value looks for files in a value, which is the member of that name, or an element of it.
func (w *writer) value(name string, raw []byte) error {
	if !bytes.Contains(raw, []byte(`"file_id"`)) {
		return nil
	}
	c := llm.NewCursor(raw)
	if c.Next() == '[' {
		for n := 0; c.Element(n); n++ {
			if err := w.value(name, c.Raw()); err != nil {
				return err
			}
		}
		return nil
	}
	if put := w.form(name, raw); put != nil {
		return put()
	}
	for n := 0; c.Member(n); n++ {
		member := string(c.Name())
		if err := w.value(member, c.Raw()); err != nil {
			return err
		}
	}
	return nil
}

// form is how an object's file is said with its bytes; nil: it names none of the cluster's, or has no
// such form.
func (w *writer) form(name string, raw []byte) func() error {
	kind, id := "", ""
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		switch string(c.Name()) {
		case "type":
			kind = c.Text()
		case "file_id":
			id = c.Text()
		default:
			c.Raw()
		}
	}
	if !own(id) {
		return nil
	}
	var open func(*content) [2]string
	switch {
	case w.Endpoint == llm.Chat && name == "file":
		open = func(f *content) [2]string { return f.named() }
	case w.Endpoint == llm.Responses && kind == "input_file":
		open = func(f *content) [2]string { return f.named() }
	case w.Endpoint == llm.Responses && kind == "input_image":
		open = func(f *content) [2]string { return [2]string{`"image_url":"data:` + f.mime + `;base64,`, `"`} }
	case w.Endpoint == llm.Messages && name == "source" && kind == "file":
		return func() error { return w.put(raw, id, []string{"file_id", "type"}, (*content).source) }
	default:
		return nil
	}
	return func() error { return w.put(raw, id, []string{"file_id", "filename"}, open) }
}

// own says whether an id is one of the cluster's files.
func own(id string) bool {
	digits, ok := strings.CutPrefix(id, ownPrefix)
	return ok && len(digits) == ownDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// content is a file while it is put into a request.
type content struct {
	name, mime string
	bytes      []byte
}

// named are the members of OpenAI's that have a file's name, and its bytes between them.
func (f *content) named() [2]string {
	return [2]string{`"filename":` + string(llm.AppendString(nil, f.name)) + `,"file_data":"data:` + f.mime + `;base64,`, `"`}
}

// source are Anthropic's.
func (f *content) source() [2]string {
	return [2]string{`"type":"base64","media_type":` + string(llm.AppendString(nil, f.mime)) + `,"data":"`, `"`}
}

// put writes an object with a file's bytes in the place of some of its members.
func (w *writer) put(raw []byte, id string, instead []string, open func(*content) [2]string) error {
	f, err := w.read(id)
	if err != nil {
		return err
	}
	w.until(w.at(raw))
	head := []byte{'{'}
	c := llm.NewCursor(raw)
	for n := 0; c.Member(n); n++ {
		member := string(c.Name())
		value := c.Raw()
		if member == instead[0] || member == instead[1] {
			continue
		}
		head = append(llm.AppendKey(head, member), value...)
	}
	head = llm.AppendComma(head)
	if plain := f.text(w.Endpoint); plain != nil {
		w.add(append(head, plain...))
	} else {
		around := open(f)
		w.add(append(head, around[0]...))
		w.add(base64.StdEncoding.AppendEncode(nil, f.bytes))
		w.add([]byte(around[1]))
	}
	w.add([]byte{'}'})
	w.copied += len(raw)
	return nil
}

// text is a text as Anthropic's source has it, which takes no text in base64; nil for anything else.
func (f *content) text(at llm.Endpoint) []byte {
	if at != llm.Messages || !strings.HasPrefix(f.mime, "text/") {
		return nil
	}
	return llm.AppendString([]byte(`"type":"text","media_type":"text/plain","data":`), string(f.bytes))
}

// read reads a file, unless the request would be too large with it.
func (w *writer) read(id string) (*content, error) {
	if w.count++; w.count > maxFiles {
		return nil, &llm.Error{Kind: llm.Invalid, Code: "too_many_files", Param: within[w.Endpoint], Message: "The request names more than 50 files."}
	}
	facts, next, err := w.files.Content(w.ctx, w.Who, id)
	if err != nil {
		return nil, err
	}
	if whole := w.size + int64(len(w.Body)-w.copied) + int64(base64.StdEncoding.EncodedLen(int(facts.Bytes))); whole > w.Most {
		return nil, &llm.Error{
			Kind: llm.TooLarge, Code: "request_too_large", Param: within[w.Endpoint],
			Message: "With the file " + id + " the request is larger than it may be.",
		}
	}
	f := &content{name: facts.Name, bytes: make([]byte, 0, facts.Bytes)}
	part, err := next()
	for ; err == nil && len(part) > 0; part, err = next() {
		f.bytes = append(f.bytes, part...)
	}
	if err != nil {
		return nil, err
	}
	f.mime = typeOf(f.name, f.bytes)
	return f, nil
}

// types are the types of files by the ends of their names, where the bytes do not tell.
var types = map[string]string{
	".pdf": "application/pdf", ".txt": "text/plain", ".md": "text/markdown", ".csv": "text/csv", ".json": "application/json", ".jsonl": "application/jsonl",
	".html": "text/html", ".xml": "text/xml", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}

// typeOf is the media type of a file.
func typeOf(name string, content []byte) string {
	if t := types[strings.ToLower(path.Ext(name))]; t != "" {
		return t
	}
	t, _, _ := strings.Cut(http.DetectContentType(content), ";")
	return t
}
