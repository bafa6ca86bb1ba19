package llm

import "bytes"

// Alike knows a chunk of a stream that differs from the next ones in its text alone, as most
// do, so that those need not be read whole. The zero value knows none. It is not safe for
// concurrent use.
type Alike struct {
	before, after []byte // what stands around the text
	report        Report // of the chunk but for TextBytes
}

var contentKey = []byte(`"content":"`)

// Report returns what Read would, if data is the known chunk with another text.
func (a *Alike) Report(data []byte) (Report, bool) {
	if len(a.before) == 0 || len(data) < len(a.before)+len(a.after) ||
		!bytes.HasPrefix(data, a.before) || !bytes.HasSuffix(data, a.after) {
		return Report{}, false
	}
	text := data[len(a.before) : len(data)-len(a.after)]
	if !plainText(text) {
		return Report{}, false
	}
	r := a.report
	r.TextBytes = int64(len(text))
	return r, true
}

// Learn takes data, of which Read returned r, as the known chunk, if it has a text and nothing
// else of interest.
func (a *Alike) Learn(data []byte, r Report) {
	if r.TextBytes == 0 || r.HasUsage || r.HasError || r.Finished != 0 {
		return
	}
	start := bytes.Index(data, contentKey)
	if start < 0 {
		return
	}
	start += len(contentKey)
	size := bytes.IndexByte(data[start:], '"')
	if size < 0 || int64(size) != r.TextBytes || !plainText(data[start:start+size]) {
		return
	}
	a.before = append(a.before[:0], data[:start]...)
	a.after = append(a.after[:0], data[start+size:]...)
	a.report = r
}

// Reset forgets the known chunk.
func (a *Alike) Reset() { a.before = a.before[:0] }

// plainText says that text stands in JSON as it is: without quotes, escapes and control
// characters.
func plainText(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
