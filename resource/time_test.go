package resource_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestTime_UnmarshalJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, out, wrong string }{
		{`null`, `null`, ""},
		{`"2030-01-31T00:00:00.5+02:00"`, `"2030-01-30T22:00:00.5Z"`, ""},
		{`"2261-12-31T00:00:00Z"`, `"2261-12-31T00:00:00Z"`, ""},
		{`"0001-01-01T00:00:00Z"`, `null`, ""},
		{`"2999-01-01T00:00:00Z"`, "", "not between 1678 and 2262"},
		{`"1066-10-14T09:00:00Z"`, "", "not between 1678 and 2262"},
		{`"2030-01-31"`, "", "not RFC 3339"},
		{`5`, "", "time:"},
	} {
		var at resource.Time
		err := json.Unmarshal([]byte(tt.in), &at)
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s: got %v, want %s", tt.in, err, tt.wrong)
			}
			continue
		}
		if out, _ := json.Marshal(at); err != nil || string(out) != tt.out {
			t.Errorf("%s: got %s (%v), want %s", tt.in, out, err, tt.out)
		}
	}
}
