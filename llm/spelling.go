package llm

import "bytes"

// identifyGoogle is identify for names of which Google takes a second spelling:
// "generation_config" is "generationConfig" to it.
func identifyGoogle(raw []byte, names []string) (int, error) {
	id, err := identify(raw, names)
	var buf [64]byte
	if id >= 0 || err != nil || len(raw) > len(buf) || bytes.IndexByte(raw, '_') < 1 {
		return id, err
	}
	camel := buf[:0]
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '_' && i > 0 && i+1 < len(raw) {
			i++
			if c = raw[i]; c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
		}
		camel = append(camel, c)
	}
	return identify(camel, names)
}
