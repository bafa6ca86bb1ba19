package providertest

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

// Damaged checks a reader of whole answers of any kind: an answer of which a value is another or missing, that
// is cut at any byte, that is empty, a page or no UTF-8 is read or is the provider's error, and no accident;
// what is cut is never read. read returns the error of the reader, and answer is one that it takes.
func Damaged(t *testing.T, answer []byte, read func(body []byte) error) {
	t.Helper()
	if err := read(answer); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	check := func(b []byte, err error) {
		if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.Kind == llm.Internal || e.Message == "" || e.HTTPStatus() < 400) {
			t.Errorf("%s: got %v, want an *llm.Error of the provider's", b, err)
		}
	}
	mutate(answer, func(b []byte) { check(b, read(b)) })
	refused := func(b []byte) {
		err := read(b)
		if err == nil {
			t.Errorf("%q is read", b)
		}
		check(b, err)
	}
	for at := range answer {
		refused(answer[:at])
	}
	for _, s := range []string{"<html>\n<body>Bad Gateway</body></html>", "\xff\xfe", "{", "null\x00"} {
		refused([]byte(s))
	}
}
