package fsm_test

import (
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func TestMCPTokens(t *testing.T) {
	t.Parallel()
	h := start(t)
	sealed := &resource.Sealed{DEK: "d", Box: []byte("box"), Fingerprint: "01234567"}
	put := func(id string, read uint64) fsm.PutMCPToken {
		return fsm.PutMCPToken{Read: read, Token: encoded(t, resource.MCPToken{ID: id, Secret: sealed})}
	}
	there := func(id string, want bool) (version uint64) {
		t.Helper()
		got, version, ok := h.f.MCPToken(id)
		if ok != want || ok && got.ID != id {
			t.Errorf("%s: got %+v, %t, want %t", id, got, ok, want)
		}
		return version
	}
	h.refused(node("n1"), put("s1/user:u1", 0), resource.ErrNotFound) // no such server
	server := func(id, name string) {
		h.do(fsm.PutMCPServer{Server: encoded(t, resource.MCPServer{
			Meta: resource.Meta{ID: id}, Name: name, MCPUpstream: resource.MCPUpstream{Transport: resource.MCPTransportHTTP, URL: "https://" + name + ".example"},
		})})
	}
	server("s1", "one")
	server("s2", "two")
	h.refused(master, put("s1/user:u1", 0), resource.ErrForbidden)
	h.doAs(node("n1"), put("s1/user:u1", 0))
	version := there("s1/user:u1", true)
	h.refused(node("n2"), put("s1/user:u1", 0), resource.ErrConflict)
	h.doAs(node("n2"), put("s1/user:u1", version))
	h.refused(node("n1"), put("s1/user:u1", version), resource.ErrConflict) // the other node was first
	granted := put("s1/user:u1", 0)
	granted.Replace = true
	h.doAs(node("n1"), granted)

	h.doAs(node("n1"), put("s1/key:k1", 0))
	h.doAs(node("n1"), put("s2/user:u1", 0))
	h.doAs(node("n1"), fsm.DeleteMCPToken{ID: "s1/key:k1"})
	there("s1/key:k1", false)
	h.doAs(node("n1"), put("s1/key:k1", 0))
	h.do(fsm.DeleteMCPServer{ID: "s1"})
	there("s1/key:k1", false)
	there("s1/user:u1", false)
	there("s2/user:u1", true)
	h.do(fsm.PutUser{Record: encoded(t, resource.User{Meta: resource.Meta{ID: "u1"}, Email: "a@b.example"})})
	h.do(fsm.DeleteUser{ID: "u1"})
	there("s2/user:u1", false)
}
