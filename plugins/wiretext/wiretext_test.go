package wiretext_test

import (
	"testing"

	"github.com/conclave-llm/conclave/plugins/wiretext"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		most int
		want string
	}{
		{"", 3, ""},
		{" a \n\tb ", 3, "a b"},
		{"abcd", 3, "abc…"},
		{"aüü", 4, "aü…"},
		{"a\xffb", 9, "a\uFFFDb"},
	} {
		if got := wiretext.Line(tt.text, tt.most); got != tt.want {
			t.Errorf("%q in %d bytes: got %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
}
