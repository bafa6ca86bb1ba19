package node_test

import (
	"net/url"
	"testing"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/nodetest"
	"github.com/conclave-llm/conclave/resource"
)

func TestNode_blobOutlivesItsWriter(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	a, last := c.Nodes[0], c.Nodes[2]
	b, err := a.Blobs().Put(t.Context(), fsm.Actor{Kind: "node", ID: a.ID()}, "", resource.Blob{Class: resource.BlobClient, Kind: "response"}, []byte("a turn"))
	if err != nil || len(b.Holders) != 2 {
		t.Fatalf("got %+v, %v", b, err)
	}
	a.Kill()
	var body []byte
	c.Await("the other node to know of the blob", func() bool {
		body, err = last.Blobs().Read(t.Context(), b.ID)
		return err == nil
	})
	if string(body) != "a turn" {
		t.Errorf("got %q", body)
	}
}

func TestNode_blobsOfAdmins(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	api := c.Nodes[0].Admin()
	b, err := api.PutBlob(t.Context(), []byte("tokens"), url.Values{"kind": {"tokenizer"}, "name": {"t.json"}})
	if err != nil || b.Size != 6 || b.Kind != "tokenizer" {
		t.Fatalf("got %+v, %v", b, err)
	}
	got, err := api.BlobBody(t.Context(), b.ID)
	if err != nil || string(got) != "tokens" {
		t.Errorf("got %q, %v", got, err)
	}
	page, err := api.Blobs(t.Context(), nil)
	if err != nil || len(page.Items) != 1 || page.Items[0].ID != b.ID {
		t.Errorf("got %+v, %v", page, err)
	}
	checks, err := api.VerifyBlob(t.Context(), b.ID)
	if err != nil || len(checks) != 3 {
		t.Errorf("got %+v, %v", checks, err)
	}
	if _, err := api.PutBlob(t.Context(), []byte("x"), url.Values{"kind": {"No Kind"}}); err == nil {
		t.Error("a kind of any form was taken")
	}
	key := c.Key(0, nodetest.Fields{})
	if status, _ := c.Nodes[0].Do("GET", "/api/v1/blobs", key.Secret, nil); status != 403 {
		t.Errorf("a key without a role: got %d, want 403", status)
	}
}
