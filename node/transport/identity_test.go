package transport_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/node/transport"
)

func TestIdentity_saveLoadRenew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := transport.LoadIdentity(dir); !errors.Is(err, transport.ErrNoIdentity) {
		t.Fatalf("an empty folder: got %v, want ErrNoIdentity", err)
	}
	c := newCluster(t)
	key, err := c.ca.Key()
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.ca.Issue("n1", transport.Sealed{CAKey: []byte("sealed"), GossipKey: []byte("too")})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := transport.LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.NodeID != "n1" || got.ClusterID != c.id || string(got.Material().Sealed.CAKey) != "sealed" || string(got.Material().Sealed.GossipKey) != "too" {
		t.Errorf("got %q %q %v", got.NodeID, got.ClusterID, got.Material())
	}
	now := time.Now()
	if got.Due(now.Add(11*time.Hour)) || !got.Due(now.Add(13*time.Hour)) {
		t.Error("renewal is not due at half of the life")
	}
	if got.Due(now.Add(-11*time.Hour)) || !got.Due(now.Add(-13*time.Hour)) {
		t.Error("a certificate of a clock that is half a day ahead is used, and renewed only where it is not valid yet")
	}
	month := now.Add(30 * 24 * time.Hour)
	unseal := func(box []byte) ([]byte, error) { return key, nil }
	if err := got.Renew(month, unseal); err != nil {
		t.Fatal(err)
	}
	again, err := transport.LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Certificate().Leaf.NotAfter; !got.After(month) {
		t.Errorf("the renewed certificate ends at %v, want after %v", got, month)
	}
	for _, name := range []string{"node.key", "ca.key", "node.crt"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "node-id"), []byte("n2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := transport.LoadIdentity(dir); err == nil {
		t.Error("an identity with another node's id was loaded")
	}
}

func TestCA_Sign_takesNothingButTheKey(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if _, err := c.ca.Sign([]byte("no request"), "n", time.Now()); err == nil {
		t.Error("rubbish was signed")
	}
	key, err := transport.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := transport.NewRequest(key, "somebody-else")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.ca.Sign(csr, "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.NewIdentity("n1", c.id, key, cert, c.ca.Certificate(), transport.Sealed{}); err != nil {
		t.Errorf("the certificate is not n1's: %v", err)
	}
}
