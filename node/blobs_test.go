package node_test

import (
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
