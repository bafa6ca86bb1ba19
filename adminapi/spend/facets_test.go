package spend_test

import (
	"encoding/json"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/ledger"
)

// shown writes a value as a test has it: texts as they are, all else as JSON, and "<nil>" for what is not there.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "<nil>"
	case string:
		return v
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func TestFacets(t *testing.T) {
	t.Parallel()
	h, secret := startWith(t, func(i int, r *ledger.Record) {
		r.CustomerID = []string{"acme", "Acme 2", "zeta", ""}[i%4]
		r.UserID = []string{"ann", "bob"}[i%2]
	})
	const span = "filter[startTime][gte]=2026-03-09T00:00:00Z&filter[startTime][lte]=2026-03-11T00:00:00Z"
	for _, tt := range []struct{ key, path, data, meta string }{
		{adminapitest.MasterKey, "end_users?" + span, `["Acme 2","acme","zeta"]`, `{"has_more":false,"page":1,"page_size":50}`},
		{adminapitest.MasterKey, "end_users?" + span + "&q=ACME&page_size=1", `["Acme 2"]`, `{"has_more":true,"page":1,"page_size":1}`},
		{adminapitest.MasterKey, "end_users?" + span + "&page=2&page_size=2", `["zeta"]`, `{"has_more":false,"page":2,"page_size":2}`},
		{adminapitest.MasterKey, "users?" + span, `["ann","bob"]`, `{"has_more":false,"page":1,"page_size":50}`},
		{secret, "users?" + span, `["ann"]`, `{"has_more":false,"page":1,"page_size":50}`}, // of its own requests
		{adminapitest.MasterKey, "users?filter[startTime][gte]=2026-03-12&filter[startTime][lte]=2026-03-13", `[]`, `{"has_more":false,"page":1,"page_size":50}`},
	} {
		a := h.Call(tt.key, "GET", "/management/v1/spend_logs/"+tt.path, "")
		var got map[string]any
		if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != 200 {
			t.Errorf("%s: %d %s", tt.path, a.Status, a.Body)
			continue
		}
		if shown(got["data"]) != tt.data || shown(got["meta"]) != tt.meta {
			t.Errorf("%s: got %s", tt.path, a.Body)
		}
	}
}
