package fsm_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func blobOf(digit string, size int64) resource.Blob {
	return resource.Blob{ID: strings.Repeat(digit, 64), Class: resource.BlobClient, Kind: "response", Size: size, ExpiresAt: day0 - 1}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	h := start(t)
	put := func(b resource.Blob, quota int64) fsm.PutBlob {
		return fsm.PutBlob{Blob: encoded(t, b), Quota: quota}
	}
	a, b := blobOf("a", 60), blobOf("b", 50)
	h.do(put(a, 100))
	h.refused(master, put(b, 100), resource.ErrFull) // over the quota
	again := a
	again.Refs, again.Holders = []string{"plugin/p1"}, []string{"n2"}
	h.do(put(again, 100)) // is counted once
	if got, ok := h.f.Blob(a.ID); !ok || cmp.Diff([]string{"plugin/p1"}, got.Refs) != "" || got.Size != 60 {
		t.Errorf("got %+v, %t", got, ok)
	}
	wrong := a
	wrong.Size = 61
	h.refused(master, put(wrong, 0), resource.ErrConflict)
	h.refused(master, fsm.DeleteBlob{ID: a.ID}, resource.ErrInUse)
	h.refused(master, fsm.DeleteBlob{ID: b.ID}, resource.ErrNotFound)

	h.doAs(node("n1"), fsm.SweepBlobs{IDs: []string{a.ID, b.ID}})
	if _, ok := h.f.Blob(a.ID); !ok {
		t.Error("a blob that something refers to was swept")
	}
	h.do(fsm.ReferBlob{ID: a.ID, Ref: "plugin/p1", Drop: true})
	h.doAs(node("n1"), fsm.SweepBlobs{IDs: []string{a.ID}})
	if _, ok := h.f.Blob(a.ID); ok {
		t.Error("an expired blob that nothing refers to was not swept")
	}
	h.do(put(b, 100)) // there is room again
	if got := h.f.Blobs("", 10); len(got) != 1 || got[0].ID != b.ID || h.f.BlobCount() != 1 {
		t.Errorf("got %+v, %d in all", got, h.f.BlobCount())
	}
	if got := h.f.Blobs(b.ID, 10); len(got) != 0 {
		t.Errorf("behind the last: %+v", got)
	}
	bad := b
	bad.ID = strings.ToUpper(b.ID)
	if got := h.try(master, put(bad, 0)); !errors.As(got.Err, new(*resource.Invalid)) {
		t.Errorf("a digest in upper case: %v", got.Err)
	}
}

func TestBlobs_neverExpires(t *testing.T) {
	t.Parallel()
	h := start(t)
	b := blobOf("c", 1)
	b.ExpiresAt = 0
	h.do(fsm.PutBlob{Blob: encoded(t, b)})
	h.do(fsm.PutBlob{Blob: encoded(t, blobOf("c", 1))})
	h.doAs(node("n1"), fsm.SweepBlobs{IDs: []string{b.ID}})
	if got, ok := h.f.Blob(b.ID); !ok || got.ExpiresAt != 0 {
		t.Errorf("got %+v, %t, want it kept for ever", got, ok)
	}
}

// TestBlobs_Named: a blob that a record names stays as long as the record does so.
func TestBlobs_Named(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.do(fsm.PutModel{Model: encoded(t, resource.Model{Meta: meta("m1"), Name: "demo"})})
	id := blobOf("d", 1).ID
	deployment := func(id string, read uint64, change func(*resource.Deployment)) fsm.PutDeployment {
		d := resource.Deployment{Meta: meta(id), ModelID: "m1", Provider: "openai"}
		change(&d)
		return fsm.PutDeployment{Deployment: encoded(t, d), Read: read}
	}
	for _, tt := range []struct {
		name, ref string
		put       func(read uint64, named bool) fsm.Command
	}{
		{"a tokenizer", "deployment/d1", func(read uint64, named bool) fsm.Command {
			return deployment("d1", read, func(d *resource.Deployment) {
				if named {
					d.Metadata = json.RawMessage(`{"custom_tokenizer":{"blob":"` + id + `"}}`)
				}
			})
		}},
		{"a template", "deployment/d2", func(read uint64, named bool) fsm.Command {
			return deployment("d2", read, func(d *resource.Deployment) {
				if named {
					d.PromptTemplate = &resource.PromptTemplate{Jinja: id}
				}
			})
		}},
		{"authorities", "deployment/d3", func(read uint64, named bool) fsm.Command {
			return deployment("d3", read, func(d *resource.Deployment) {
				if named {
					d.TLS = &resource.TLS{CA: id}
				}
			})
		}},
		{"a proxy's authorities", "credential/c1", func(read uint64, named bool) fsm.Command {
			c := resource.Credential{Meta: meta("c1"), Name: "c"}
			if named { // twice is once
				c.Proxy, c.TLS = &resource.Proxy{URL: "https://px:3128", CA: id}, &resource.TLS{CA: id}
			}
			return fsm.PutCredential{Credential: encoded(t, c), Read: read}
		}},
		{"authorities of proxies by provider", "setting/provider_proxies", func(read uint64, named bool) fsm.Command {
			s := resource.Setting{Meta: meta("provider_proxies"), Value: json.RawMessage(`{}`)}
			if named {
				s.Value = json.RawMessage(`{"openai":{"url":"https://px:3128","ca":"` + id + `"}}`)
			}
			return fsm.PutSetting{Setting: encoded(t, s), Read: read}
		}},
		{"a channel's authorities", "setting/alerts", func(read uint64, named bool) fsm.Command {
			s := resource.Setting{Meta: meta("alerts"), Value: json.RawMessage(`{}`)}
			if named {
				s.Value = json.RawMessage(`{"channels":[{"name":"ops","type":"webhook","url":"https://hooks.example","ca":"` + id + `"}]}`)
			}
			return fsm.PutSetting{Setting: encoded(t, s), Read: read}
		}},
		{"a document", "mcp_server/s1", func(read uint64, named bool) fsm.Command {
			s := resource.MCPServer{Meta: meta("s1"), Name: "notes", MCPUpstream: resource.MCPUpstream{Transport: resource.MCPTransportOpenAPI, Spec: id, URL: "https://notes.example"}}
			if !named {
				s.Spec = "https://notes.example/openapi.json"
			}
			return fsm.PutMCPServer{Server: encoded(t, s), Read: read}
		}},
	} {
		h.do(fsm.PutBlob{Blob: encoded(t, blobOf("d", 1))})
		version := h.do(tt.put(0, true)).Index
		h.refused(master, fsm.DeleteBlob{ID: id}, resource.ErrInUse)
		h.doAs(node("n1"), fsm.SweepBlobs{IDs: []string{id}})
		if got, ok := h.f.Blob(id); !ok || cmp.Diff([]string{tt.ref}, got.Refs) != "" || fsm.Sweepable(got, day0) {
			t.Errorf("%s that a record names: got %+v, %t", tt.name, got, ok)
		}
		if got := h.f.Blobs("", 9); len(got) != 1 || cmp.Diff([]string{tt.ref}, got[0].Refs) != "" {
			t.Errorf("%s that a record names is listed as %+v", tt.name, got)
		}
		h.do(tt.put(version, false))
		h.doAs(node("n1"), fsm.SweepBlobs{IDs: []string{id}})
		if _, ok := h.f.Blob(id); ok {
			t.Errorf("%s that no record names any more was not swept", tt.name)
		}
	}
}
