package cli_test

import (
	"bytes"
	"testing"

	"github.com/conclave-llm/conclave/cmd/conclave/cli"
	"github.com/conclave-llm/conclave/cmd/conclave/cli/keyimport"
)

func FuzzRecords(f *testing.F) {
	f.Add([]byte("name,rpm,model\na,1,x;y\n"), "csv")
	f.Add([]byte("{\"name\":\"a\"}\n\n{}\n"), "jsonl")
	f.Add([]byte("\xef\xbb\xbfname\n\"a\nb\"\n"), "csv")
	f.Fuzz(func(t *testing.T, b []byte, format string) {
		r, err := keyimport.Open(bytes.NewReader(b), "", format, cli.KeyTable())
		if err != nil {
			return
		}
		last := 0
		for {
			doc, line, err := r.Next()
			if err != nil {
				return
			}
			if doc == nil || line <= last {
				t.Fatalf("got %v at line %d after %d", doc, line, last)
			}
			last = line
		}
	})
}
