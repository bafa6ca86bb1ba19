package fsm_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

var sealedType = reflect.TypeFor[resource.Sealed]()

// sealedPaths lists the ways from a type to a sealed secret, but for those through known types.
func sealedPaths(t reflect.Type, known []reflect.Type, path string, seen map[reflect.Type]bool) (all []string) {
	if slices.Contains(known, t) || seen[t] {
		return nil
	}
	if t == sealedType {
		return []string{path}
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return sealedPaths(t.Elem(), known, path, seen)
	case reflect.Struct:
		seen[t] = true
		defer delete(seen, t)
		for f := range t.Fields() {
			all = append(all, sealedPaths(f.Type, known, path+"."+f.Name, seen)...)
		}
	}
	return all
}

// TestSealed_everyKind: every record that a command can bring with a sealed secret in it is in the
// table of what is sealed anew.
func TestSealed_everyKind(t *testing.T) {
	t.Parallel()
	parts := []string{
		"TurnKey.Next.Sealed", "RotateKey.Next.Sealed", // of a key, which is in the table
		"Reseal.Items.Sealed", // the exchange itself
	}
	known := fsm.SealedTypes()
	for _, cmd := range fsm.CommandTypes() {
		for _, path := range sealedPaths(cmd, known, cmd.Name(), map[reflect.Type]bool{}) {
			if !slices.Contains(parts, path) {
				t.Errorf("%s is sealed and not in sealedRows: an exchange of the data key would leave it behind", path)
			}
		}
	}
	if got := sealedPaths(reflect.TypeFor[fsm.PutMCPToken](), nil, "", map[reflect.Type]bool{}); len(got) != 1 {
		t.Errorf("the walk does not see a known secret: got %q", got)
	}
}

// plant puts a secret into every place for one below v.
func plant(v reflect.Value, depth int) (n int) {
	if depth == 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.Pointer:
		if len(sealedPaths(v.Type(), nil, "", map[reflect.Type]bool{})) == 0 {
			return 0
		}
		v.Set(reflect.New(v.Type().Elem()))
		if v.Type().Elem() == sealedType {
			v.Interface().(*resource.Sealed).DEK = "old"
			return 1
		}
		return plant(v.Elem(), depth-1)
	case reflect.Map:
		if v.Type().Elem() != reflect.PointerTo(sealedType) {
			return 0
		}
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), reflect.ValueOf(&resource.Sealed{DEK: "old"}))
		return 1
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n += plant(v.Field(i), depth-1)
			}
		}
	}
	return n
}

// TestSealed_everyField: EachSealed of every kind reaches every secret of it.
func TestSealed_everyField(t *testing.T) {
	t.Parallel()
	for _, typ := range fsm.SealedTypes() {
		t.Run(typ.Name(), func(t *testing.T) {
			t.Parallel()
			rec := reflect.New(typ)
			want, got := plant(rec.Elem(), 6), 0
			rec.Interface().(fsm.Sealing).EachSealed(func(_ string, s *resource.Sealed) *resource.Sealed {
				got++
				return s
			})
			if got != want || want == 0 {
				t.Errorf("got %d secrets visited, want %d", got, want)
			}
		})
	}
}

// TestSealed_mcpToken: tokens, which the catalog does not have, are found and sealed anew, and who
// refreshes one meanwhile is not disturbed.
func TestSealed_mcpToken(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	h.do(fsm.PutMCPServer{Server: encoded(t, resource.MCPServer{
		Meta: meta("s1"), Name: "s", MCPUpstream: resource.MCPUpstream{Transport: resource.MCPTransportHTTP, URL: "https://s.example"},
	})})
	var want []string
	for i := range 1203 { // more than two pages
		id := fmt.Sprintf("s1/key:k%04d", i)
		want = append(want, id)
		h.doAs(node("n1"), fsm.PutMCPToken{Token: encoded(t, resource.MCPToken{
			ID: id, Scopes: "a", Secret: &resource.Sealed{DEK: "d", Box: []byte("old"), Fingerprint: "f"},
		})})
	}
	var got []string
	h.f.EachSealed(func(r fsm.SealedRecord) bool {
		if r.Kind == "mcp_token" {
			got = append(got, r.ID)
		}
		return true
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("tokens found (-want +got):\n%s", diff)
	}
	_, version, _ := h.f.MCPToken(want[7])
	next := &resource.Sealed{DEK: "d2", Box: []byte("new"), Fingerprint: "f"}
	h.doAs(node("n1"), fsm.Reseal{Items: []fsm.Resealed{{Kind: "mcp_token", ID: want[7], Field: "token", Old: []byte("old"), Sealed: next}}})
	token, now, ok := h.f.MCPToken(want[7])
	if !ok || token.Secret.DEK != "d2" || string(token.Secret.Box) != "new" || token.Scopes != "a" || now != version {
		t.Errorf("got %+v at %d, want the new box at %d", token, now, version)
	}
	h.refused(node("n1"), fsm.PutMCPToken{Read: version + 1, Token: encoded(t, *token)}, resource.ErrConflict)
	h.doAs(node("n1"), fsm.PutMCPToken{Read: version, Token: encoded(t, *token)})
}
