package pass

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// maxModels bounds the different models that one request may name.
const maxModels = 64

// said are members that hold what is said, or what a client keeps there, and name no model that is asked.
var said = []string{
	"metadata", "messages", "content", "contents", "input", "tools", "schema", "properties", "system", "systemInstruction",
	"instructions", "prompt", "examples", "labels",
}

// Models are the models that a body names below its top, as work that is ordered does: the requests of a batch,
// the data and the graders of an eval. false: they are too many.
func Models(body []byte) (models []string, ok bool) {
	if !bytes.Contains(body, []byte("odel")) && !escapes.Match(body) {
		return nil, true
	}
	m := modelFinder{}
	c := llm.NewCursor(body)
	m.members(&c, true)
	return m.models, len(m.models) <= maxModels
}

// LineModels are those of the lines of a batch's file. false: they are too many.
func LineModels(file []byte) (models []string, ok bool) {
	m := modelFinder{}
	for line := range bytes.Lines(file) {
		c := llm.NewCursor(line)
		m.members(&c, false)
		if len(m.models) > maxModels {
			return nil, false
		}
	}
	return m.models, true
}

// modelFinder collects the models that are named.
type modelFinder struct{ models []string }

func (m *modelFinder) members(c *llm.Cursor, top bool) {
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		switch {
		case name == "model" || name == "modelId" || name == "model_id":
			if c.Next() != '"' || top && name == "model" { // that is asked itself
				m.value(c)
				continue
			}
			m.add(c.Text())
		case slices.Contains(said, name):
			c.Raw()
		default:
			m.value(c)
		}
	}
}

func (m *modelFinder) value(c *llm.Cursor) {
	switch c.Next() {
	case '{':
		m.members(c, false)
	case '[':
		for n := 0; c.Element(n); n++ {
			m.value(c)
		}
	default:
		c.Raw()
	}
}

// add takes a name; Google's have their collection before them.
func (m *modelFinder) add(name string) {
	name = strings.TrimPrefix(name, inBody)
	if name != "" && len(m.models) <= maxModels && !slices.Contains(m.models, name) {
		m.models = append(m.models, name)
	}
}

// ordered are members below which a batch's requests stand.
var ordered = []string{"requests", "params", "body"}

// RenameLines are the lines of a batch's file with other names in the models' place. name gives them.
func RenameLines(file []byte, name func(string) string) []byte {
	out := make([]byte, 0, len(file))
	for line := range bytes.Lines(file) {
		text := bytes.TrimRight(line, "\r\n")
		out = append(append(out, RenameOrdered(text, name)...), line[len(text):]...)
	}
	return out
}

// RenameOrdered is a body that orders work, or a line of a batch's file, with other names in the place of the models' of
// its requests. What cannot be read stays as it is.
func RenameOrdered(body []byte, name func(string) string) []byte {
	if !bytes.Contains(body, []byte("odel")) && !escapes.Match(body) {
		return body
	}
	c := llm.NewCursor(body)
	out := renamed(nil, &c, true, name)
	if c.End() != nil {
		return body
	}
	return out
}

// renamed appends a value with the names in it changed.
func renamed(out []byte, c *llm.Cursor, top bool, name func(string) string) []byte {
	switch c.Next() {
	case '{':
		out = append(out, '{')
		for n := 0; c.Member(n); n++ {
			member := string(c.Name())
			out = append(llm.AppendString(llm.AppendComma(out), member), ':')
			switch {
			case slices.Contains(ordered, member):
				out = renamed(out, c, false, name)
			case member == "model" && !top && c.Next() == '"':
				out = llm.AppendString(out, name(c.Text()))
			default:
				out = append(out, c.Raw()...)
			}
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		for n := 0; c.Element(n); n++ {
			out = renamed(llm.AppendComma(out), c, false, name)
		}
		return append(out, ']')
	}
	return append(out, c.Raw()...)
}

// Batch is how the use of a batch is learned.
type Batch uint8

// The ways.
const (
	NoBatch      Batch = iota // the path makes none
	BatchResults              // from its results, which pass here
	BatchUnread               // from nothing that passes here
)

// batches are the last parts of paths that make batches.
var batches = map[string]Batch{
	"batches": BatchResults, "batchPredictionJobs": BatchUnread, "model-invocation-job": BatchUnread, "async-invoke": BatchUnread,
}

// BatchAt is what a POST to a path makes.
func BatchAt(rest string) Batch {
	plain, err := url.PathUnescape(rest)
	if err != nil {
		return NoBatch
	}
	last := strings.TrimSuffix(plain, "/")
	if strings.HasSuffix("/"+last, "/batch/jobs") { // Mistral's
		return BatchResults
	}
	last = last[strings.LastIndexByte(last, '/')+1:]
	switch {
	case strings.HasSuffix(last, verbBatch):
		return BatchResults
	case strings.HasSuffix(last, ":asyncBatchEmbedContent"):
		return BatchUnread
	}
	return batches[last]
}

// verbBatch is behind the model in the path at which a batch of Google's is ordered.
const verbBatch = ":batchGenerateContent"

// Batches is the beginning of a path that leads to batches whose results pass here, up to where they are: "v1/batches".
// false: the path leads elsewhere.
func Batches(rest string) (at string, ok bool) {
	segments := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	if n := len(segments); n >= 2 { // Google's are ordered elsewhere: at the model
		if last, err := url.PathUnescape(segments[n-1]); err == nil && strings.HasSuffix(last, verbBatch) {
			return strings.Join(append(segments[:n-2], "batches"), "/"), true
		}
	}
	for _, folder := range []string{"batches", "batch/jobs"} {
		if i := strings.Index("/"+rest+"/", "/"+folder+"/"); i >= 0 {
			return rest[:i+len(folder)], true
		}
	}
	return "", false
}

// Results is the id of the batch of Anthropic's whose results a path is; "": it is none.
func Results(rest string) string {
	before, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/results")
	_, id, found := strings.Cut("/"+before, "/messages/batches/")
	if !ok || !found || strings.Contains(id, "/") {
		return ""
	}
	id, err := url.PathUnescape(id)
	if err != nil {
		return ""
	}
	return id
}
