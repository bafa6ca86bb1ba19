package bedrock

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// writer writes a request for Converse.
type writer struct {
	q     *chat.Request
	t     *llm.Target
	fam   family
	conv  *arranger
	names map[string]int // of documents, which must differ
	b     []byte
}

// EncodeRequest writes a request for Converse.
func (Format) EncodeRequest(q *chat.Request, t *llm.Target) ([]byte, error) {
	fam := familyOf(t)
	conv := arrange(q, t, fam)
	if words := q.Format.InWords(); words != "" && (q.Format.Type == "json_object" || !fam.schema) {
		conv.system = append(conv.system, chat.Part{Text: words})
	}
	w := writer{q: q, t: t, fam: fam, conv: conv, b: append(make([]byte, 0, q.SizeHint()), '{')}
	if err := w.messages(); err != nil {
		return nil, err
	}
	if err := w.system(); err != nil {
		return nil, err
	}
	think := w.think()
	w.inference(think)
	w.tools()
	w.format()
	w.fields(think)
	w.extra()
	w.drop()
	w.b = append(w.b, '}')
	return w.b, t.Err()
}

func (w *writer) key(name string) { w.b = llm.AppendKey(w.b, name) }

// messages writes the turns.
func (w *writer) messages() error {
	if len(w.conv.turns) == 0 {
		return llm.Unsayable("messages", "The provider of this model wants a message of the user that is not empty.")
	}
	w.key("messages")
	w.b = append(w.b, '[')
	for i := range w.conv.turns {
		turn := &w.conv.turns[i]
		w.b = append(llm.AppendComma(w.b), `{"role":"`...)
		w.b = append(w.b, turn.role...)
		w.b = append(w.b, `","content":[`...)
		for _, parts := range [][]chat.Part{turn.results, turn.parts} {
			if err := w.parts(parts); err != nil {
				return err
			}
		}
		if w.q.CacheControl != nil && i == len(w.conv.turns)-1 {
			w.mark(w.q.CacheControl)
		}
		w.b = append(w.b, "]}"...)
	}
	w.b = append(w.b, ']')
	return nil
}

func (w *writer) system() error {
	if len(w.conv.system) == 0 {
		return nil
	}
	w.key("system")
	w.b = append(w.b, '[')
	err := w.parts(w.conv.system)
	w.b = append(w.b, ']')
	return err
}

// parts writes blocks, and the marks behind them.
func (w *writer) parts(parts []chat.Part) error {
	for i := range parts {
		p := &parts[i]
		if err := w.part(p); err != nil {
			return err
		}
		if p.CacheControl != nil {
			w.mark(p.CacheControl)
		}
	}
	return nil
}

// mark writes the mark of a cache, behind a block.
func (w *writer) mark(mark json.RawMessage) {
	if !w.fam.caches && !w.t.Drop("cache_control") {
		return
	}
	w.b = appendCachePoint(w.b, mark)
}

func (w *writer) part(p *chat.Part) error {
	switch p.Type {
	case chat.PartToolResult:
		return w.result(p)
	case chat.PartImage, chat.PartVideo, chat.PartAudio, chat.PartFile:
		return w.media(p)
	}
	w.b = appendBlock(llm.AppendComma(w.b), p, p.ID)
	return nil
}

// result writes the result of a tool, which must hold something.
func (w *writer) result(p *chat.Part) error {
	w.b = append(llm.AppendComma(w.b), `{"toolResult":{"toolUseId":`...)
	w.b = llm.AppendString(w.b, p.ID)
	w.b = append(w.b, `,"content":[`...)
	start := len(w.b)
	for i := range p.Parts {
		in := &p.Parts[i]
		switch {
		case in.Type == chat.PartText && blank(in.Text):
		case in.Type == chat.PartText || in.Type == chat.PartRefusal:
			w.b = appendText(llm.AppendComma(w.b), in.Text)
		case in.Type == chat.PartToolCall || in.Type == chat.PartToolResult || in.Type == chat.PartReasoning ||
			in.Type == chat.PartOther && in.Origin != origin:
			w.t.Drop("messages.content")
		default:
			if err := w.part(in); err != nil {
				return err
			}
		}
	}
	if len(w.b) == start {
		w.b = appendText(w.b, "(empty)") // a blank text is refused, and so is none
	}
	w.b = append(w.b, ']')
	if p.IsError {
		w.b = append(w.b, `,"status":"error"`...)
	}
	w.b = append(w.b, "}}"...)
	return nil
}

// media writes media: the bytes, or where they are in S3.
func (w *writer) media(p *chat.Part) error {
	kind := media[p.Type]
	switch m := p.Media; {
	case m == nil || m.Data == "" && m.URL == "" && m.FileID == "":
		return llm.Unsayable("messages", "There is nothing in the "+kind+".")
	case m.Data == "" && m.FileID != "":
		return llm.Unsayable("messages", "The provider of this model takes no "+kind+" by the id of a file: send its bytes.")
	case m.Data == "" && !strings.HasPrefix(m.URL, "s3://"):
		return llm.Unsayable("messages", "The provider of this model fetches no "+kind+" from an address: send its bytes as a data URL, or an s3:// address.")
	case m.Data != "" && !isBase64(m.Data):
		return llm.Unsayable("messages", "The bytes of the "+kind+" are not base64.")
	}
	format := formatOf(p)
	if format == "" {
		return llm.Unsayable("messages", "The provider of this model does not take a "+kind+" of the type "+strconv.Quote(p.Media.MIME)+".")
	}
	name := ""
	if p.Type == chat.PartFile {
		name = w.name(p.Media.Name)
	}
	w.b = appendMedia(llm.AppendComma(w.b), p, format, name)
	return nil
}

// name makes a document's name, which no other has.
func (w *writer) name(name string) string {
	name = documentName(name)
	if w.names == nil {
		w.names = make(map[string]int)
	}
	w.names[name]++
	if n := w.names[name]; n > 1 {
		return w.name(name + " " + strconv.Itoa(n))
	}
	return name
}

// inference writes the parameters that all models have.
func (w *writer) inference(think bool) {
	q := w.q
	b := []byte(`{`)
	if q.MaxTokens > 0 {
		b = strconv.AppendInt(llm.AppendKey(b, "maxTokens"), q.MaxTokens, 10)
	}
	temperature, topP := w.sampling(think)
	if temperature {
		b = strconv.AppendFloat(llm.AppendKey(b, "temperature"), w.temperature(), 'g', -1, 64)
	}
	if topP {
		b = strconv.AppendFloat(llm.AppendKey(b, "topP"), *q.TopP, 'g', -1, 64)
	}
	if stop := slices.DeleteFunc(slices.Clone(q.Stop), blank); len(stop) > 0 {
		b = append(llm.AppendKey(b, "stopSequences"), '[')
		for _, s := range stop {
			b = llm.AppendString(llm.AppendComma(b), s)
		}
		b = append(b, ']')
	}
	if len(b) > 1 {
		w.key("inferenceConfig")
		w.b = append(append(w.b, b...), '}')
	}
}

// temperature is the one that is sent: Converse takes none above 1.
func (w *writer) temperature() float64 {
	v := *w.q.Temperature
	if v > 1 && !w.t.Drop("temperature") {
		return 1
	}
	return v
}

// sampling says which of two parameters can be sent. Claude takes neither while it thinks, one of
// them since 4.5, and none since 4.7.
func (w *writer) sampling(think bool) (temperature, topP bool) {
	q := w.q
	temperature, topP = q.Temperature != nil, q.TopP != nil
	if w.fam.name != "claude" {
		return temperature, topP
	}
	none := w.fam.since(4, 7)
	if temperature && (none || think && *q.Temperature != 1) {
		temperature = w.t.Drop("temperature")
	}
	if topP && (none || think && *q.TopP < 0.95 || temperature && w.fam.since(4, 5)) {
		topP = w.t.Drop("top_p")
	}
	return temperature, topP
}

// format writes the schema of the answer.
func (w *writer) format() {
	f := &w.q.Format
	if f.Type == "" {
		return
	}
	if f.Type == "json_object" {
		return // it is asked for in words
	}
	if f.Type != "json_schema" || len(f.Schema) == 0 || !w.fam.schema {
		w.t.Drop("response_format")
		return
	}
	name := f.Name
	if name == "" {
		name = "answer"
	}
	w.key("outputConfig")
	w.b = append(w.b, `{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"name":`...)
	w.b = llm.AppendString(w.b, name)
	if f.Description != "" {
		w.b = llm.AppendString(llm.AppendKey(w.b, "description"), f.Description)
	}
	w.b = append(w.b, `,"schema":`...)
	w.b = llm.AppendString(w.b, string(anthropic.AppendSchema(nil, f.Schema)))
	w.b = append(w.b, "}}}}"...)
}
