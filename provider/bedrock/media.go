package bedrock

import (
	"strings"

	"github.com/conclave-llm/conclave/llm/chat"
)

// media are Bedrock's names of the kinds of media.
var media = map[chat.PartType]string{
	chat.PartImage: "image", chat.PartVideo: "video", chat.PartAudio: "audio", chat.PartFile: "document",
}

// mediaPart is the type of part that a kind of media is; false if it is none.
func mediaPart(kind string) (t chat.PartType, ok bool) {
	for t, name := range media {
		if name == kind {
			return t, true
		}
	}
	return 0, false
}

// formats are Bedrock's names of the formats, by their types.
var formats = map[string]string{
	"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp",
	"application/pdf": "pdf", "text/csv": "csv", "application/msword": "doc",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
	"application/vnd.ms-excel": "xls", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
	"text/html": "html", "text/plain": "txt", "text/markdown": "md",
	"video/x-matroska": "mkv", "video/quicktime": "mov", "video/mp4": "mp4", "video/webm": "webm", "video/x-flv": "flv",
	"video/mpeg": "mpeg", "video/mpg": "mpg", "video/x-ms-wmv": "wmv", "video/3gpp": "three_gp",
	"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/opus": "opus", "audio/aac": "aac",
	"audio/flac": "flac", "audio/mp4": "m4a", "audio/x-m4a": "m4a", "audio/ogg": "ogg", "audio/webm": "webm", "audio/pcm": "pcm",
}

// types are the types that the formats name, where they name more than one or differ.
var types = map[string]string{
	"image/jpeg": "image/jpeg", "document/pdf": "application/pdf", "document/csv": "text/csv", "document/doc": "application/msword",
	"document/docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"document/xls":  "application/vnd.ms-excel", "document/xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"document/html": "text/html", "document/txt": "text/plain", "document/md": "text/markdown",
	"video/mkv": "video/x-matroska", "video/mov": "video/quicktime", "video/flv": "video/x-flv", "video/wmv": "video/x-ms-wmv",
	"video/three_gp": "video/3gpp", "audio/mp3": "audio/mpeg", "audio/m4a": "audio/mp4",
}

// typeOf is the type of a format of a kind of media.
func typeOf(kind, format string) string {
	if format == "" {
		return ""
	}
	if t, ok := types[kind+"/"+format]; ok {
		return t
	}
	return kind + "/" + format
}

// signs are the first letters, in base64, of files whose type is not said.
var signs = []struct{ start, format string }{
	{"iVBORw0KGgo", "png"},
	{"/9j/", "jpeg"},
	{"R0lGOD", "gif"},
	{"UklGR", "webp"},
	{"JVBERi", "pdf"},
	{"AAAA", "mp4"},
}

// formatOf is Bedrock's name for the format of media, "" if it has none.
func formatOf(p *chat.Part) string {
	mime, _, _ := strings.Cut(p.Media.MIME, ";")
	mime = strings.ToLower(strings.TrimSpace(mime))
	if f, ok := formats[mime]; ok {
		return f
	}
	switch {
	case p.Type == chat.PartFile && strings.HasPrefix(mime, "text/"):
		return "txt"
	case p.Type == chat.PartAudio && strings.HasPrefix(mime, "audio/") && mime != "audio/*":
		return strings.TrimPrefix(mime, "audio/")
	case mime != "" && mime != "application/octet-stream" && !strings.HasSuffix(mime, "/*"):
		return ""
	}
	for _, s := range signs {
		if strings.HasPrefix(p.Media.Data, s.start) {
			return s.format
		}
	}
	return extension(p.Media)
}

// extension is the format that the name of a file or of an object in S3 ends in.
func extension(m *chat.Media) string {
	name := m.Name
	if name == "" {
		name = m.URL
	}
	ext := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	switch ext {
	case "jpg":
		return "jpeg"
	case "htm":
		return "html"
	case "3gp":
		return "three_gp"
	}
	for _, f := range formats {
		if f == ext {
			return f
		}
	}
	return ""
}

// documentName makes a name that Bedrock takes: letters, digits, single spaces, dashes,
// parentheses and brackets, without its ending.
func documentName(name string) string { //nolint:gocyclo // one table of cases
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		name = name[:i]
	}
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-()[]", c) >= 0:
			b = append(b, c)
		case len(b) > 0 && b[len(b)-1] != ' ' && (c == ' ' || c == '_' || c == '.' || c == '\t'):
			b = append(b, ' ')
		}
	}
	name = strings.TrimSpace(string(b[:min(len(b), 180)]))
	if name == "" {
		return "document"
	}
	return name
}
