package batch

import "testing"

// Of any file either all lines are good and have different ids, or something is told.
func FuzzReadLines(f *testing.F) {
	for _, s := range []string{
		"", "\n", "{", `{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}`,
		"{\"custom_id\":\"a\"}\r\n\xff", `{"custom_id":"a","CUSTOM_ID":"b","method":"POST","url":"/v1/embeddings","body":{"model":"m","stream":1}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		lines, wrong := readLines(body, "/v1/embeddings", 4)
		if (len(lines) == 0) != (len(wrong) > 0) || len(lines) > 4 {
			t.Errorf("%d lines and %v", len(lines), wrong)
		}
		seen := map[string]bool{}
		for _, l := range lines {
			if l.CustomID == "" || seen[l.CustomID] || l.Body[0] != '{' {
				t.Errorf("line %+v", l)
			}
			seen[l.CustomID] = true
		}
	})
}
