package litellm_test

import (
	"net/http"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestAllowedIPs(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	if got := list(h, "GET", "/get/allowed_ips", ""); got != `{"data":null}`+"\n" {
		t.Errorf("nothing was said yet: got %s", got)
	}
	h.Must("POST", "/add/allowed_ip", `{"ip":"10.0.0.0/8"}`)
	has(t, "added", h.Must("POST", "/add/allowed_ip", `{"ip":"2001:db8::1"}`), map[string]any{"status": "success", "message": "IP 2001:db8::1 address added successfully"})
	if got := list(h, "GET", "/get/allowed_ips", ""); got != `{"data":["10.0.0.0/8","2001:db8::1"]}`+"\n" {
		t.Errorf("got %s", got)
	}
	if got := h.State.Catalog().Settings().AllowedIPs; len(got) != 2 {
		t.Errorf("what counts: got %v", got)
	}
	for _, tt := range []struct {
		name, path, body string
		status           int
	}{
		{"no address", "/add/allowed_ip", `{}`, 400},
		{"not an address", "/add/allowed_ip", `{"ip":"10.0.0.0/99"}`, 400},
		{"one that is there", "/add/allowed_ip", `{"ip":"2001:db8::1"}`, 409},
		{"one that is not there", "/delete/allowed_ip", `{"ip":"10.0.0.1"}`, 404},
	} {
		if a := h.Call(adminapitest.MasterKey, http.MethodPost, tt.path, tt.body); a.Status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.Status, a.Body, tt.status)
		}
	}
	h.Must("POST", "/delete/allowed_ip", `{"ip":"10.0.0.0/8"}`)
	h.Must("POST", "/delete/allowed_ip", `{"ip":"2001:db8::1"}`)
	if got := h.State.Catalog().Settings().AllowedIPs; len(got) != 0 {
		t.Errorf("after the last: got %v", got)
	}
}
