package openai

import (
	"encoding/base64"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// mediaOf is what stands at an address, which may be a data URL.
func mediaOf(url string) *chat.Media {
	rest, ok := strings.CutPrefix(url, "data:")
	if !ok {
		return &chat.Media{URL: url}
	}
	head, data, ok := strings.Cut(rest, ",")
	mime, ok64 := strings.CutSuffix(head, ";base64")
	if !ok || !ok64 {
		return &chat.Media{URL: url}
	}
	mime, _, _ = strings.Cut(mime, ";")
	return &chat.Media{Data: data, MIME: mime}
}

// signs are the first letters, in base64, of files whose type is not said.
var signs = []struct{ start, mime string }{
	{"iVBORw0KGgo", "image/png"},
	{"/9j/", "image/jpeg"},
	{"R0lGOD", "image/gif"},
	{"UklGR", "image/webp"},
	{"JVBERi", "application/pdf"},
}

// mimeOf is the type of media that are data, guessed if it is not said; or is the last guess.
func mimeOf(m *chat.Media, or string) string {
	if m.MIME != "" {
		return m.MIME
	}
	for _, s := range signs {
		if strings.HasPrefix(m.Data, s.start) {
			return s.mime
		}
	}
	return or
}

// appendDataURL appends the address of media as a JSON string: a data URL if they are data.
func appendDataURL(dst []byte, m *chat.Media, or string) []byte {
	if m.Data == "" {
		return llm.AppendString(dst, m.URL)
	}
	dst = llm.AppendString(dst, "data:"+mimeOf(m, or)+";base64")
	begun := len(dst) - 1 // where the quote is that ended it
	dst = llm.AppendString(dst[:begun], m.Data)
	dst[begun] = ','
	return dst
}

// audioFormats are OpenAI's names for types of audio that are not the type's own.
var audioFormats = map[string]string{
	"audio/mpeg": "mp3", "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav", "audio/mp4": "m4a",
	"audio/x-m4a": "m4a", "audio/L16": "pcm16", "audio/pcm": "pcm16",
}

// audioFormat is OpenAI's name for a type of audio.
func audioFormat(mime string) string {
	mime, _, _ = strings.Cut(mime, ";")
	if f, ok := audioFormats[mime]; ok {
		return f
	}
	return strings.TrimPrefix(mime, "audio/")
}

// audioMIME is the type that OpenAI names so.
func audioMIME(format string) string {
	switch format {
	case "", "*":
		return "audio/*"
	case "mp3":
		return "audio/mpeg"
	case "m4a":
		return "audio/mp4"
	case "pcm16":
		return "audio/pcm"
	}
	if strings.Contains(format, "/") {
		return format
	}
	return "audio/" + format
}

// plainFile is the text of a document that is one, such as Markdown; false if it is no text.
func plainFile(m *chat.Media) (string, bool) {
	if m == nil || m.Data == "" || !strings.HasPrefix(m.MIME, "text/") {
		return "", false
	}
	text, err := base64.StdEncoding.DecodeString(m.Data)
	return string(text), err == nil
}

// unsayable makes the error of media that the dialect has no words for.
func unsayable(what string) error {
	return llm.Unsayable("messages", "The provider of this model takes no "+what+".")
}
