package audit

import (
	"bytes"
	"strings"
)

// hidden stands in the place of a secret.
const hidden = `"(hidden)"`

// secretNames are parts of the names that secrets have in free JSON.
var secretNames = []string{
	"secret", "password", "passwd", "passphrase", "token", "authorization", "credential", "cookie",
	"api_key", "apikey", "access_key", "accesskey", "private_key", "privatekey", "signing_key", "dsn",
}

// hides says whether a member with the name, as it stands between its quotes, holds a
// secret. One with an escape might have any name.
func hides(name []byte) bool {
	if bytes.IndexByte(name, '\\') >= 0 {
		return true
	}
	s := strings.ReplaceAll(strings.ToLower(string(name)), "-", "_")
	for _, part := range secretNames {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// level is an object or array around the place of a hider.
type level struct{ object, secret bool }

// hider copies JSON and hides the texts of members whose names say that they are secret.
// It is a scanner of its own, and so gives the same bytes in every version of Go.
type hider struct {
	out    []byte
	levels []level
	name   bool // a name comes next
	secret bool // the member's name says so
}

// hide hides the secrets of a JSON text; what is no JSON is hidden whole.
func hide(in []byte) []byte {
	h := hider{out: make([]byte, 0, len(in))}
	for len(in) > 0 {
		if in[0] == '"' {
			n := textLen(in)
			if n == 0 {
				return []byte(hidden)
			}
			h.text(in[:n])
			in = in[n:]
			continue
		}
		if !h.mark(in[0]) {
			return []byte(hidden)
		}
		h.out = append(h.out, in[0])
		in = in[1:]
	}
	if len(h.levels) > 0 {
		return []byte(hidden)
	}
	return h.out
}

// textLen is the length of the text that in begins with, 0 if it does not end.
func textLen(in []byte) int {
	for i := 1; i < len(in); i++ {
		switch in[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

func (h *hider) top() level {
	if len(h.levels) == 0 {
		return level{}
	}
	return h.levels[len(h.levels)-1]
}

func (h *hider) text(t []byte) {
	switch {
	case h.name:
		h.secret = h.top().secret || hides(t[1:len(t)-1])
		h.out = append(h.out, t...)
	case h.secret:
		h.out = append(h.out, hidden...)
	default:
		h.out = append(h.out, t...)
	}
}

// mark follows the structure; it returns false where there is none.
func (h *hider) mark(c byte) bool {
	switch c {
	case '{', '[':
		h.levels = append(h.levels, level{object: c == '{', secret: h.secret})
		h.name = c == '{'
	case '}', ']':
		if len(h.levels) == 0 {
			return false
		}
		h.levels = h.levels[:len(h.levels)-1]
		h.name, h.secret = false, h.top().secret
	case ',':
		h.name, h.secret = h.top().object, h.top().secret
	case ':':
		h.name = false
	}
	return len(h.levels) <= 1<<10
}
