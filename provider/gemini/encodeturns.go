package gemini

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// turns writes the instruction and the contents. All instructions stand in one place with
// Google; a conversation that has nothing else is asked with them.
func (w *requestWriter) turns() error { //nolint:gocyclo // one table of cases
	w.names = make(map[string]string)
	turns := false
	for i := range w.req.Messages {
		m := &w.req.Messages[i]
		turns = turns || !instructs(m)
		for j := range m.Parts {
			if p := &m.Parts[j]; p.Type == chat.PartToolCall {
				w.names[p.ID] = p.Name
			}
			if given(m.Parts[j].CacheControl) {
				w.t.Drop("cache_control")
			}
		}
	}
	if turns {
		if err := w.instruction(); err != nil {
			return err
		}
	}
	w.member("contents")
	w.open('[')
	empty := len(w.out)
	list := w.req.Messages
	for at := 0; at < len(list); {
		if turns && instructs(&list[at]) {
			at++
			continue
		}
		role, end := roleOf(&list[at]), at+1
		for end < len(list) && (turns && instructs(&list[end]) || roleOf(&list[end]) == role) {
			end++
		}
		if err := w.turn(role, at, end, turns); err != nil {
			return err
		}
		at = end
	}
	if len(w.out) == empty {
		return llm.Unsayable("messages", "The conversation is empty.")
	}
	w.close(']')
	return nil
}

func instructs(m *chat.Message) bool {
	return m.Role == chat.RoleSystem || m.Role == chat.RoleDeveloper
}

func roleOf(m *chat.Message) string {
	if m.Role == chat.RoleAssistant {
		return "model"
	}
	return "user"
}

func (w *requestWriter) instruction() error {
	start, first := len(w.out), w.first
	w.member("systemInstruction")
	w.open('{')
	w.member("parts")
	w.open('[')
	empty := len(w.out)
	for i := range w.req.Messages {
		m := &w.req.Messages[i]
		for j := range m.Parts {
			p := &m.Parts[j]
			switch {
			case !instructs(m) || p.Type == chat.PartText && p.Text == "":
			case p.Type != chat.PartText:
				if instructs(m) {
					return llm.Unsayable(field(i), "An instruction to this model may hold text only.")
				}
			default:
				w.element('{')
				w.member("text").str(p.Text)
				w.close('}')
			}
		}
	}
	if words := w.req.Format.InWords(); words != "" && w.formless() {
		w.element('{')
		w.member("text").str(words)
		w.close('}')
	}
	if len(w.out) == empty {
		w.out, w.first = w.out[:start], first
		return nil
	}
	w.close(']')
	w.close('}')
	return nil
}

// field names a message as a client of OpenAI's wrote it.
func field(i int) string { return "messages[" + strconv.Itoa(i) + "]" }

// turn writes the messages from at to end, which speak in one role, as one content: Google wants
// the roles to alternate, and all results of a turn's calls at once.
func (w *requestWriter) turn(role string, at, end int, turns bool) error {
	start, first := len(w.out), w.first
	w.element('{')
	w.member("role").str(role)
	w.member("parts")
	w.open('[')
	empty := len(w.out)
	t := turnWriter{w: w, role: role}
	var media []*chat.Part
	for _, results := range []bool{true, false} { // results of tools come first
		for i := at; i < end; i++ {
			m := &w.req.Messages[i]
			if turns && instructs(m) {
				continue
			}
			for j := range m.Parts {
				p := &m.Parts[j]
				if (p.Type == chat.PartToolResult) != results {
					continue
				}
				t.at = field(i)
				more, err := t.part(p)
				if err != nil {
					return err
				}
				media = append(media, more...)
			}
		}
	}
	for _, p := range media {
		if _, err := t.part(p); err != nil {
			return err
		}
	}
	t.flush()
	if len(w.out) == empty {
		w.out, w.first = w.out[:start], first
		return nil
	}
	w.close(']')
	w.close('}')
	return nil
}

// turnWriter writes the parts of one turn.
type turnWriter struct {
	w         *requestWriter
	role      string
	at        string // the message, for errors
	signature string // of reasoning, for the next part that is not reasoning
	called    bool   // a call stands in this turn
}

// flush writes a signature that no part followed.
func (t *turnWriter) flush() {
	if t.signature != "" {
		t.w.element('{')
		t.w.member("text").str("")
		t.sign("")
		t.w.close('}')
	}
}

// sign writes a signature: the part's own, else that of the reasoning before it.
func (t *turnWriter) sign(own string) {
	if own == "" {
		own, t.signature = t.signature, ""
	}
	if own != "" {
		t.w.member("thoughtSignature").data(own)
	}
}

// part writes a part. It returns the media of a tool's result, which are to follow.
func (t *turnWriter) part(p *chat.Part) (media []*chat.Part, err error) {
	w := t.w
	switch p.Type {
	case chat.PartText, chat.PartRefusal:
		if p.Text == "" {
			return nil, nil
		}
		w.element('{')
		w.member("text").str(p.Text)
		t.sign("")
		w.close('}')
	case chat.PartReasoning:
		t.reasoning(p)
	case chat.PartToolCall:
		t.call(p)
	case chat.PartToolResult:
		return t.result(p), nil
	case chat.PartOther:
		if p.Origin == origin {
			w.sep()
			w.json(p.Raw)
		}
	default:
		return nil, t.media(p)
	}
	return nil, nil
}

// reasoning writes thoughts that Google signed. Others are of no use to it, and a signature that
// is not its own would be refused.
func (t *turnWriter) reasoning(p *chat.Part) {
	signature, ok := strings.CutPrefix(p.Signature, own)
	if !ok {
		return
	}
	if p.Text != "" {
		t.w.element('{')
		t.w.member("text").str(p.Text)
		t.w.member("thought").raw("true")
		t.w.close('}')
	}
	t.signature = signature
}

// call writes a call of a tool. Google from the third generation on wants the first of a turn to be
// signed.
func (t *turnWriter) call(p *chat.Part) {
	w := t.w
	args := bytes.TrimSpace(p.Arguments)
	if len(args) == 0 || string(args) == "null" {
		args = []byte("{}")
	}
	if args[0] != '{' || !json.Valid(args) {
		args = append(llm.AppendString([]byte(`{"arguments":`), string(args)), '}')
	}
	w.element('{')
	w.member("functionCall")
	w.open('{')
	if p.ID != "" && !onVertex(w.t) {
		w.member("id").str(p.ID)
	}
	w.member("name").str(p.Name)
	w.member("args").json(args)
	w.close('}')
	signature := p.Signature
	if signature == "" && t.signature == "" && !t.called && generation(w.t.Model) >= 30 {
		signature = validator
	}
	t.called = true
	t.sign(signature)
	w.close('}')
}

// result writes a tool's result. Google wants an object, and the tool's name, which is that of the
// call; a result without a call is told as text.
func (t *turnWriter) result(p *chat.Part) (media []*chat.Part) {
	w := t.w
	name := w.names[p.ID]
	text := chat.Text(p.Parts)
	for i := range p.Parts {
		if p.Parts[i].Media != nil {
			media = append(media, &p.Parts[i])
		}
	}
	if name == "" {
		w.element('{')
		w.member("text").str("Result of the tool " + strings.TrimSpace(p.Name+" "+p.ID) + ": " + text)
		w.close('}')
		return media
	}
	w.element('{')
	w.member("functionResponse")
	w.open('{')
	if p.ID != "" && !onVertex(w.t) {
		w.member("id").str(p.ID)
	}
	w.member("name").str(name)
	w.member("response")
	w.response(text, p.IsError)
	w.close('}')
	w.close('}')
	return media
}

func (w *requestWriter) response(text string, failed bool) {
	if trimmed := strings.TrimSpace(text); !failed && len(trimmed) > 1 && trimmed[0] == '{' && json.Valid([]byte(trimmed)) {
		w.raw(trimmed)
		return
	}
	name := "output"
	if failed {
		name = "error"
	}
	w.open('{')
	w.member(name).str(text)
	w.close('}')
}

// media writes a picture, a sound, a film or a document.
func (t *turnWriter) media(p *chat.Part) error {
	m := p.Media
	if m == nil {
		return nil
	}
	data, typ := m.Data, m.MIME
	if head, rest, ok := strings.Cut(m.URL, ";base64,"); ok && data == "" && strings.HasPrefix(head, "data:") {
		data, typ = rest, head[len("data:"):]
	}
	w := t.w
	if data != "" {
		if typ == "" {
			typ = sniff(data)
		}
		w.element('{')
		w.member("inlineData")
		w.open('{')
		w.member("mimeType").str(typ)
		w.member("data").data(data)
	} else {
		uri, err := address(m, t.at)
		if err != nil {
			return err
		}
		w.element('{')
		w.member("fileData")
		w.open('{')
		if typ = cleanType(typ, uri, p.Type); typ != "" {
			w.member("mimeType").str(typ)
		}
		w.member("fileUri").str(uri)
	}
	w.close('}')
	t.sign("")
	w.close('}')
	return nil
}

// address is where media are for Google.
func address(m *chat.Media, at string) (string, error) {
	switch {
	case m.URL != "":
		return m.URL, nil
	case strings.HasPrefix(m.FileID, "files/"):
		return "https://generativelanguage.googleapis.com/v1beta/" + m.FileID, nil
	case strings.HasPrefix(m.FileID, "gs://"), strings.HasPrefix(m.FileID, "https://"):
		return m.FileID, nil
	case m.FileID != "":
		return "", llm.Unsayable(at, "The file "+strconv.Quote(m.FileID)+" is not one of Google's.")
	}
	return "", llm.Unsayable(at, "A picture, sound, film or document is empty.")
}

// kindTypes are the types of media whose address does not tell.
var kindTypes = map[chat.PartType]string{chat.PartImage: "image/jpeg", chat.PartAudio: "audio/wav", chat.PartVideo: "video/mp4"}

// cleanType is the MIME type of what stands at an address. Files of Google's own have theirs.
func cleanType(typ, uri string, kind chat.PartType) string {
	if typ != "" {
		return typ
	}
	u, err := url.Parse(uri)
	if err != nil || u.Host == "generativelanguage.googleapis.com" || strings.HasSuffix(u.Host, "youtube.com") || u.Host == "youtu.be" {
		return ""
	}
	if t, ok := extensions[strings.ToLower(path.Ext(u.Path))]; ok {
		return t
	}
	if t, _, err := mime.ParseMediaType(mime.TypeByExtension(path.Ext(u.Path))); err == nil {
		return t
	}
	return kindTypes[kind]
}

// extensions are those that every machine must know alike.
var extensions = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".heic": "image/heic", ".heif": "image/heif",
	".pdf": "application/pdf", ".mp3": "audio/mp3", ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".m4a": "audio/m4a", ".aac": "audio/aac",
	".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".mpeg": "video/mpeg", ".txt": "text/plain", ".csv": "text/csv", ".md": "text/markdown",
}

// sniff is the MIME type that the first bytes of base64 tell.
func sniff(data string) string {
	head := data[:min(len(data), 512)&^3]
	raw, err := base64.StdEncoding.DecodeString(head)
	if err != nil {
		return "application/octet-stream"
	}
	typ, _, _ := strings.Cut(http.DetectContentType(raw), ";")
	return typ
}
