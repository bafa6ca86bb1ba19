package fsm_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func TestResponses(t *testing.T) {
	t.Parallel()
	h := start(t)
	put := func(id, digit string, expires resource.Time) fsm.PutResponse {
		b := blobOf(digit, 60)
		b.ExpiresAt, b.Refs = expires, []string{"response/" + id}
		return fsm.PutResponse{Quota: 100, Blob: encoded(t, b), Response: encoded(t, resource.Response{
			ID: id, Blob: b.ID, Owners: resource.Owners{KeyID: "k1"}, CreatedAt: day0, ExpiresAt: expires,
		})}
	}
	there := func(id, digit string, want bool) {
		t.Helper()
		_, known := h.f.Response(id)
		_, kept := h.f.Blob(strings.Repeat(digit, 64))
		if known != want || kept != want {
			t.Errorf("%s: known %t, its blob %t, want %t", id, known, kept, want)
		}
	}
	h.doAs(node("n1"), put("resp_a", "a", day0-1))
	there("resp_a", "a", true)
	h.refused(node("n1"), put("resp_b", "b", day0), resource.ErrFull)
	there("resp_b", "b", false)
	h.refused(node("n1"), put("resp_a", "a", day0), resource.ErrExists)
	h.refused(master, put("resp_c", "c", day0), resource.ErrForbidden)
	other := put("resp_d", "d", day0)
	other.Blob = put("resp_e", "e", day0).Blob
	if got := h.try(node("n1"), other); got.Err == nil {
		t.Error("a blob of another response was taken")
	}

	h.doAs(node("n1"), fsm.DeleteResponses{IDs: []string{"resp_a", "resp_none"}, Over: true})
	there("resp_a", "a", false) // its time is over
	late := resource.Time(1) << 62
	h.doAs(node("n1"), put("resp_f", "f", late))
	h.doAs(node("n1"), fsm.DeleteResponses{IDs: []string{"resp_f"}, Over: true})
	there("resp_f", "f", true)
	all, last := h.f.Responses("", 10, func(*resource.Response) bool { return true })
	if len(all) != 1 || last != "" || all[0].Owners.KeyID != "k1" {
		t.Errorf("got %+v, %q", all, last)
	}
	h.do(fsm.DeleteResponses{IDs: []string{"resp_f"}})
	there("resp_f", "f", false)
	h.doAs(node("n1"), put("resp_g", "9", late)) // there is room again
	there("resp_g", "9", true)
}
